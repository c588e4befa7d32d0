#include "src/tensors/inputs.h"

#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones_like.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <limits>

namespace sparity::tensors {

namespace {

constexpr std::int64_t kIgnoredLabel = -100;
constexpr std::array<std::string_view, 4> kKnownNames = {"input_ids", "attention_mask",
                                                         "position_ids", "labels"};

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape.vec(), ", "));
}

at::Tensor read_named(const core::SafetensorsFile& file, const std::string& name,
                      std::initializer_list<core::Dtype> allowed) {
  const core::TensorEntry& entry = file.at(name);
  SPARITY_CHECK_INPUT(
      std::find(allowed.begin(), allowed.end(), entry.dtype) != allowed.end(),
      fmt::format("{}: '{}': expected {}, found {}", file.path().string(), name,
                  allowed.size() > 1 ? "I64 or BOOL" : "I64", core::safetensors_name(entry.dtype)));
  at::Tensor tensor = at::empty(entry.shape, to_scalar_type(entry.dtype));
  file.read(name, {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()});
  return tensor;
}

void check_shape(const std::string& source, std::string_view name, const at::Tensor& tensor,
                 at::IntArrayRef expected) {
  SPARITY_CHECK_INPUT(tensor.sizes() == expected,
                      fmt::format("{}: '{}': expected shape {}, found {}", source, name,
                                  shape_text(expected), shape_text(tensor.sizes())));
}

/// The first element for which `bad` holds throws, naming its place.
template <typename Bad>
void check_elements(const std::string& source, std::string_view name, const at::Tensor& tensor,
                    std::string_view expected, Bad bad) {
  const auto* values = tensor.const_data_ptr<std::int64_t>();
  const std::int64_t columns = tensor.size(1);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    SPARITY_CHECK_INPUT(!bad(i, values),
                        fmt::format("{}: '{}'[{}, {}]: expected {}, found {}", source, name,
                                    i / columns, i % columns, expected, values[i]));
  }
}

void check_positions(const std::string& source, const Inputs& inputs) {
  const std::int64_t columns = inputs.input_ids.size(1);
  check_elements(
      source, "position_ids", inputs.position_ids, "a value from 0 to 2^24",
      [](std::int64_t i, const std::int64_t* v) { return v[i] < 0 || v[i] > (1 << 24); });
  const bool* token = inputs.token_mask.const_data_ptr<bool>();
  check_elements(source, "position_ids", inputs.position_ids,
                 "no decrease within a row (packed documents are not supported)",
                 [&](std::int64_t i, const std::int64_t* v) {
                   return i % columns != 0 && token[i] && token[i - 1] && v[i] < v[i - 1];
                 });
}

void check_values(const std::string& source, const core::ModelConfig& config, Inputs& inputs) {
  check_elements(
      source, "input_ids", inputs.input_ids,
      fmt::format("an id from 0 to {} (vocab_size - 1)", config.vocab_size - 1),
      [&](std::int64_t i, const std::int64_t* v) { return v[i] < 0 || v[i] >= config.vocab_size; });
  check_positions(source, inputs);
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
        fmt::format("{}: 'attention_mask': expected I64 or BOOL for shape [B, S]", source));
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
      fmt::format("{}: 'attention_mask': expected BOOL or a floating type", source));
  inputs.pair_mask =
      (pairs.scalar_type() == at::kBool ? pairs : pairs_from_additive(pairs, source)).contiguous();
}

Inputs read_inputs(const std::filesystem::path& path, const core::ModelConfig& config) {
  const core::SafetensorsFile file(path);
  const std::string source = path.string();
  for (const auto& [name, entry] : file.tensors()) {
    SPARITY_CHECK_INPUT(std::ranges::find(kKnownNames, name) != kKnownNames.end(),
                        fmt::format("{}: unknown tensor '{}': expected {}", source, name,
                                    fmt::join(kKnownNames, ", ")));
  }
  Inputs inputs;
  inputs.input_ids = read_named(file, "input_ids", {core::Dtype::kI64});
  SPARITY_CHECK_INPUT(
      inputs.input_ids.dim() == 2 && inputs.input_ids.numel() > 0,
      fmt::format("{}: 'input_ids': expected shape [B, S], both at least 1, found {}", source,
                  shape_text(inputs.input_ids.sizes())));
  const std::int64_t columns = inputs.input_ids.size(1);
  inputs.token_mask = at::ones_like(inputs.input_ids, at::kBool);
  inputs.position_ids = at::arange(columns, at::kLong).expand_as(inputs.input_ids).contiguous();
  if (file.contains("attention_mask")) {
    const at::Tensor mask =
        read_named(file, "attention_mask", {core::Dtype::kI64, core::Dtype::kBool});
    check_shape(source, "attention_mask", mask, inputs.input_ids.sizes());
    apply_attention_mask(mask, source, inputs);
  }
  if (file.contains("position_ids")) {
    inputs.position_ids = read_named(file, "position_ids", {core::Dtype::kI64});
    check_shape(source, "position_ids", inputs.position_ids, inputs.input_ids.sizes());
  }
  if (file.contains("labels")) {
    inputs.labels = read_named(file, "labels", {core::Dtype::kI64});
    check_shape(source, "labels", inputs.labels, inputs.input_ids.sizes());
  }
  check_values(source, config, inputs);
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
