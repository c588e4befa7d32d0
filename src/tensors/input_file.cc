#include "src/tensors/input_file.h"

#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/safetensors.h"
#include "src/tensors/at_dtype.h"
#include "src/tensors/input_checks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones_like.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>

namespace sparity::tensors {

namespace {

constexpr std::array<std::string_view, 4> kKnownNames = {"input_ids", "attention_mask",
                                                         "position_ids", "labels"};

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

/// Positions of padding turn nothing that counts: they need only be in range.
void check_positions(const std::string& source, const Inputs& inputs) {
  const std::int64_t columns = inputs.input_ids.size(1);
  check_elements(
      source, "position_ids", inputs.position_ids, "a value from 0 to 2^24",
      [](std::int64_t i, const std::int64_t* v) { return v[i] < 0 || v[i] > (1 << 24); });
  const bool* token = inputs.token_mask.const_data_ptr<bool>();
  std::int64_t last = 0;  // the position of the row's token before
  check_elements(source, "position_ids", inputs.position_ids,
                 "no decrease from one token of a row to the next (packed documents are not "
                 "supported)",
                 [&](std::int64_t i, const std::int64_t* v) {
                   last = i % columns == 0 ? 0 : last;
                   const bool decreases = token[i] && v[i] < last;
                   last = token[i] ? v[i] : last;
                   return decreases;
                 });
}

/// Position i predicts label i + 1, if it is a token.
void check_labels_count(const std::string& source, const Inputs& inputs) {
  const std::int64_t predictions = inputs.labels.size(1) - 1;
  const at::Tensor counted = inputs.labels.narrow(1, 1, predictions)
                                 .ne(kIgnoredLabel)
                                 .logical_and(inputs.token_mask.narrow(1, 0, predictions));
  SPARITY_CHECK_INPUT(
      counted.any().item().toBool(),
      fmt::format("{}: 'labels': expected at least one label to learn from, found none that is "
                  "not -100, in the first column or predicted from padding",
                  source));
}

}  // namespace

Inputs read_input_file(const std::filesystem::path& path) {
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
    check_labels_count(source, inputs);
  }
  check_positions(source, inputs);
  return inputs;
}

std::string inputs_hash(const Inputs& inputs) {
  std::string parts;
  const auto add = [&](std::string_view name, const at::Tensor& tensor) {
    if (tensor.defined()) {
      const at::Tensor whole = tensor.contiguous();
      parts += fmt::format("{} {} {}\n", name, shape_text(whole.sizes()),
                           core::sha256_hex(bytes_of(whole)));
    }
  };
  add("input_ids", inputs.input_ids);
  add("token_mask", inputs.token_mask);
  add("position_ids", inputs.position_ids);
  add("labels", inputs.labels);
  add("pair_mask", inputs.pair_mask);
  constexpr std::size_t kDigits = 16;
  return core::sha256_hex(parts).substr(0, kDigits);
}

}  // namespace sparity::tensors
