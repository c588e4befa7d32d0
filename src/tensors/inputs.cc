#include "src/tensors/inputs.h"

#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "src/tensors/at_dtype.h"
#include "src/tensors/input_checks.h"
#include "src/tensors/input_file.h"

#include <fmt/format.h>

#include <limits>

namespace sparity::tensors {

namespace {

void check_values(const std::string& source, const core::ModelConfig& config, Inputs& inputs) {
  check_elements(
      source, "input_ids", inputs.input_ids,
      fmt::format("an id from 0 to {} (vocab_size - 1)", config.vocab_size - 1),
      [&](std::int64_t i, const std::int64_t* v) { return v[i] < 0 || v[i] >= config.vocab_size; });
  if (inputs.labels.defined()) {
    check_elements(source, "labels", inputs.labels,
                   fmt::format("-100 or an id from 0 to {}", config.vocab_size - 1),
                   [&](std::int64_t i, const std::int64_t* v) {
                     return v[i] != kIgnoredLabel && (v[i] < 0 || v[i] >= config.vocab_size);
                   });
  }
  if (inputs.input_ids.size(1) > config.max_position_embeddings) {
    inputs.warnings.push_back(
        fmt::format("{}: 'input_ids': {} tokens a row exceed max_position_embeddings = {}", source,
                    inputs.input_ids.size(1), config.max_position_embeddings));
  }
}

/// Bool [B, S, S] from an additive mask: 0 may attend, −inf or ≤ finfo.min / 2 may not.
at::Tensor pairs_from_additive(const at::Tensor& mask, const std::string& source) {
  const double lowest = mask.scalar_type() == at::kDouble ? std::numeric_limits<double>::lowest()
                        : mask.scalar_type() == at::kHalf ? -65504.0
                        : mask.scalar_type() == at::kBFloat16
                            ? -3.3895313892515355e38
                            : std::numeric_limits<float>::lowest();
  const at::Tensor wide = mask.to(at::kDouble);
  const at::Tensor open = wide.eq(0.0);
  const at::Tensor closed = wide.le(lowest / 2);
  SPARITY_CHECK_INPUT(
      open.logical_or(closed).all().item().toBool(),
      fmt::format("{}: 'attention_mask': expected additive values 0, -inf or at most "
                  "{} (finfo.min / 2), found others",
                  source, lowest / 2));
  return open;
}

}  // namespace

void apply_attention_mask(const at::Tensor& mask, const std::string& source, Inputs& inputs) {
  const std::int64_t rows = inputs.input_ids.size(0);
  const std::int64_t columns = inputs.input_ids.size(1);
  if (mask.dim() == 2) {
    check_shape(source, "attention_mask", mask, {rows, columns});
    SPARITY_CHECK_INPUT(
        mask.scalar_type() == at::kBool || mask.scalar_type() == at::kLong,
        fmt::format("{}: 'attention_mask': expected I64 or BOOL for shape [B, S], found {}", source,
                    c10::toString(mask.scalar_type())));
    if (mask.scalar_type() == at::kLong) {
      check_elements(source, "attention_mask", mask.contiguous(), "0 or 1",
                     [](std::int64_t i, const std::int64_t* v) { return v[i] != 0 && v[i] != 1; });
    }
    inputs.token_mask = mask.to(at::kBool).contiguous();
    return;
  }
  const at::Tensor pairs = mask.dim() == 4 && mask.size(1) == 1 ? mask.squeeze(1) : mask;
  check_shape(source, "attention_mask", pairs, {rows, columns, columns});
  SPARITY_CHECK_INPUT(
      pairs.scalar_type() == at::kBool || pairs.is_floating_point(),
      fmt::format("{}: 'attention_mask': expected BOOL or a floating type, found {}", source,
                  c10::toString(pairs.scalar_type())));
  inputs.pair_mask =
      (pairs.scalar_type() == at::kBool ? pairs : pairs_from_additive(pairs, source)).contiguous();
}

Inputs read_inputs(const std::filesystem::path& path, const core::ModelConfig& config) {
  Inputs inputs = read_input_file(path);
  check_values(path.string(), config, inputs);
  return inputs;
}

void write_inputs(const Inputs& inputs, const std::filesystem::path& path) {
  const at::Tensor mask = inputs.token_mask.to(at::kLong).contiguous();
  std::vector<core::TensorBytes> tensors;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    tensors.push_back({name, core::Dtype::kI64, tensor.sizes().vec(), bytes_of(tensor)});
  };
  add("input_ids", inputs.input_ids);
  add("attention_mask", mask);
  add("position_ids", inputs.position_ids);
  if (inputs.labels.defined()) {
    add("labels", inputs.labels);
  }
  core::write_safetensors(path, std::move(tensors));
}

}  // namespace sparity::tensors
