#include "suites/bench/counter_baseline.h"

#include "src/core/error.h"
#include "src/core/json_fields.h"
#include "src/core/strict_json.h"
#include "suites/cases/model_source.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace sparity::bench {

namespace {

using nlohmann::json;

constexpr std::string_view kSchemaVersion = "1.0";
constexpr double kTolerance = 0.01;

constexpr std::array<std::pair<std::string_view, std::int64_t ResourceCounts::*>, 4> kMembers = {{
    {"allocations", &ResourceCounts::allocations},
    {"bytes", &ResourceCounts::bytes},
    {"peak_bytes", &ResourceCounts::peak_bytes},
    {"gemm_flops", &ResourceCounts::gemm_flops},
}};

std::string_view pass_name(bool backward) { return backward ? "forward_backward" : "forward"; }

bool same_pass(const CountedPass& a, const CountedPass& b) {
  return a.config == b.config && a.tokens == b.tokens && a.dtype == b.dtype &&
         a.backward == b.backward;
}

std::vector<CountedPass> count_config(const std::string& config, std::int64_t tokens) {
  std::vector<CountedPass> passes;
  cases::ModelSource source;
  source.config = config;
  const tensors::Checkpoint checkpoint = cases::open_checkpoint(source);
  const tensors::Inputs inputs = tensors::seeded_inputs(checkpoint.config, 1, tokens);
  for (const core::Dtype dtype : {core::Dtype::kF32, core::Dtype::kBF16}) {
    const auto model = cases::BoundModel::candidate(checkpoint, dtype, core::Recipe::kOfficial);
    for (const bool backward : {false, true}) {
      passes.push_back({config, tokens, std::string(core::to_string(dtype)), backward,
                        count_resources(model, inputs, backward)});
    }
  }
  return passes;
}

CountedPass read_pass(const json& object, const std::string& source, const std::string& pointer) {
  core::JsonFields fields(object, source, pointer);
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  const auto text = [&](std::string_view key) {
    const std::optional<std::string> value = fields.text(key);
    if (!value) {
      fields.fail(key, "a string", "nothing");
    }
    return *value;
  };
  const auto count = [&](std::string_view key) {
    if (fields.find(key) == nullptr) {
      fields.fail(key, "a positive integer", "nothing");
    }
    return fields.integer(key, 0, 1, kMost);
  };
  CountedPass pass{.config = text("config"), .tokens = count("tokens"), .dtype = text("dtype")};
  const std::string kind = text("pass");
  pass.backward = kind == pass_name(true);
  if (kind != pass_name(pass.backward)) {
    fields.fail("pass", "forward or forward_backward", kind);
  }
  for (const auto& [key, member] : kMembers) {
    pass.counts.*member = count(key);
  }
  for (const std::string& left : fields.unread()) {
    SPARITY_FAIL_INPUT(fmt::format("{}: {}: expected no such member, found it", source, left));
  }
  return pass;
}

}  // namespace

std::string CountedPass::name() const {
  return fmt::format("{}, {} tokens, {}, forward{}", config, tokens, dtype,
                     backward ? " and backward" : "");
}

std::vector<CountedPass> count_all() {
  at::set_num_threads(1);
  // oneDNN packs bfloat16 operands as the processor's instructions like them: what it allocates for
  // that is not the model's, and differs from machine to machine.
  at::globalContext().setUserEnabledMkldnn(false);
  std::vector<CountedPass> passes = count_config("tiny", 53);
  std::ranges::move(count_config("fork-small", 512), std::back_inserter(passes));
  return passes;
}

json to_json(const std::vector<CountedPass>& passes) {
  json list = json::array();
  for (const CountedPass& pass : passes) {
    json entry = {{"config", pass.config},
                  {"tokens", pass.tokens},
                  {"dtype", pass.dtype},
                  {"pass", pass_name(pass.backward)}};
    for (const auto& [key, member] : kMembers) {
      entry[std::string(key)] = pass.counts.*member;
    }
    list.push_back(std::move(entry));
  }
  return {{"schema_version", kSchemaVersion}, {"passes", std::move(list)}};
}

std::vector<CountedPass> read_counters(const std::filesystem::path& path) {
  const json document = core::read_json(path, {});
  core::JsonFields fields(document, path.string());
  const std::string version = fields.text("schema_version").value_or("nothing");
  if (version != kSchemaVersion) {
    fields.fail("schema_version", kSchemaVersion, version);
  }
  const json* list = fields.find("passes");
  if (list == nullptr || !list->is_array() || list->empty()) {
    fields.fail("passes", "an array of passes",
                list == nullptr ? "nothing" : core::describe(*list));
  }
  for (const std::string& left : fields.unread()) {
    SPARITY_FAIL_INPUT(
        fmt::format("{}: {}: expected no such member, found it", path.string(), left));
  }
  std::vector<CountedPass> passes;
  for (const json& entry : *list) {
    passes.push_back(read_pass(entry, path.string(), fmt::format("/passes/{}", passes.size())));
  }
  return passes;
}

std::vector<std::string> differences(const std::vector<CountedPass>& found,
                                     const std::vector<CountedPass>& committed) {
  std::vector<std::string> all;
  for (const CountedPass& pass : found) {
    const auto expected = std::ranges::find_if(
        committed, [&](const CountedPass& other) { return same_pass(pass, other); });
    if (expected == committed.end()) {
      all.push_back(pass.name() + ": no committed counts");
      continue;
    }
    for (const auto& [key, member] : kMembers) {
      const auto now = static_cast<double>(pass.counts.*member);
      const auto before = static_cast<double>(expected->counts.*member);
      const bool within = std::abs(now - before) <= kTolerance * before;
      if (!within) {
        all.push_back(fmt::format("{}: {}: expected {} within 1 %, found {} ({:+.1f} %)",
                                  pass.name(), key, expected->counts.*member, pass.counts.*member,
                                  100 * (now / before - 1)));
      }
    }
  }
  for (const CountedPass& pass : committed) {
    if (std::ranges::none_of(found,
                             [&](const CountedPass& other) { return same_pass(pass, other); })) {
      all.push_back(pass.name() + ": committed, and not counted");
    }
  }
  return all;
}

}  // namespace sparity::bench
