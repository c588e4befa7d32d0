#include "suites/rope/rope_inputs.h"

#include "src/core/error.h"

#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>

namespace sparity::suites {

namespace {

core::RopeParameters yarn() {
  return {.rope_type = core::RopeType::kYarn,
          .rope_theta = 10000.0,
          .factor = 8.0,
          .original_max_position_embeddings = 24,
          .beta_fast = 32.0,
          .beta_slow = 1.0,
          .mscale = 1.0,
          .mscale_all_dim = 1.0,
          .attention_factor = {}};
}

/// The spellings, each named by what it does.
std::vector<std::pair<std::string, core::RopeParameters>> spellings() {
  std::vector<std::pair<std::string, core::RopeParameters>> all;
  const auto add = [&](const char* name, auto edit) {
    core::RopeParameters rope = yarn();
    edit(rope);
    all.emplace_back(name, rope);
  };
  using Rope = core::RopeParameters;
  add("plain", [](Rope& r) { r.rope_type = core::RopeType::kDefault; });
  add("yarn", [](Rope&) {});
  add("released", [](Rope& r) {
    r.factor = 40.0;
    r.original_max_position_embeddings = 4096;
  });
  add("factor_one", [](Rope& r) { r.factor = 1.0; });
  add("fractional_factor", [](Rope& r) { r.factor = 2.5; });
  add("other_theta", [](Rope& r) { r.rope_theta = 523000.0; });
  add("no_mscale", [](Rope& r) { r.mscale = r.mscale_all_dim = std::nullopt; });
  add("no_mscale_all_dim", [](Rope& r) { r.mscale_all_dim = std::nullopt; });
  add("mscale_all_dim_zero", [](Rope& r) { r.mscale_all_dim = 0.0; });
  add("unequal_mscale", [](Rope& r) {
    r.mscale = 0.7;
    r.mscale_all_dim = 1.3;
  });
  add("given_attention_factor", [](Rope& r) { r.attention_factor = 0.8125; });
  add("ramp_of_no_width", [](Rope& r) { r.original_max_position_embeddings = 1; });
  add("wide_ramp", [](Rope& r) {
    r.original_max_position_embeddings = 1 << 20;
    r.beta_slow = 1e-3;
  });
  return all;
}

}  // namespace

std::vector<RopeForm> rope_forms(const core::ModelConfig& config) {
  std::vector<RopeForm> forms = {{"config", config}};
  for (const std::int64_t dim : {2, 6, 16, 64}) {
    for (const auto& [name, parameters] : spellings()) {
      core::ModelConfig changed = config;
      changed.qk_rope_head_dim = dim;
      changed.rope_parameters = parameters;
      forms.push_back({fmt::format("{}.{}", name, dim), changed});
    }
  }
  return forms;
}

RopeForm rope_form(const core::ModelConfig& config, const std::string& name) {
  const std::vector<RopeForm> forms = rope_forms(config);
  const auto found = std::ranges::find(forms, name, &RopeForm::name);
  SPARITY_CHECK(found != forms.end(), fmt::format("no rope form is called {}", name));
  return *found;
}

at::Tensor hunting_positions() {
  const std::vector<std::int64_t> first = {0,   1,   2,   3,    7,     24,    25,
                                           100, 511, 512, 4095, 65536, 163839};
  const std::vector<std::int64_t> second = {163839, 37, 36, 35, 1023, 5, 5, 0, 12, 99, 8191, 1, 24};
  return at::stack({at::tensor(first, at::kLong), at::tensor(second, at::kLong)});
}

at::Tensor constant_positions(std::int64_t rows, std::int64_t columns, std::int64_t value) {
  return at::full({rows, columns}, value, at::kLong);
}

}  // namespace sparity::suites
