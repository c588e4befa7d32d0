#include "suites/cli/forced_values.h"

#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/safetensors.h"
#include "src/tensors/at_dtype.h"
#include "suites/cli/dump.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fnmatch.h>
#include <iterator>
#include <optional>
#include <span>
#include <vector>

namespace sparity::cli {

namespace {

constexpr std::string_view kTracePrefix = "trace.";

/// An index other than −1 that a row names twice.
std::optional<std::int64_t> repeated(std::span<const std::int64_t> row) {
  std::vector<std::int64_t> sorted(row.begin(), row.end());
  std::ranges::sort(sorted);
  const auto twice =
      std::adjacent_find(sorted.begin(), sorted.end(),
                         [](std::int64_t a, std::int64_t b) { return a == b && a != -1; });
  return twice == sorted.end() ? std::nullopt : std::optional(*twice);
}

/// The choices of keys, or of experts, that a row may hold.
struct Range {
  std::int64_t least;
  std::int64_t most;
};

Range range_of(const std::string& name, const core::ModelConfig& config,
               const tensors::Inputs& inputs) {
  return name.ends_with(".indexer.topk_indices") ? Range{-1, inputs.input_ids.size(1) - 1}
                                                 : Range{0, config.n_routed_experts - 1};
}

/// Rows of padding are nobody's choice and may repeat. A choice of another shape or dtype is left
/// to the recorder.
void check_choice(const std::string& path, const std::string& name, const at::Tensor& forced,
                  const Range& range, const tensors::Inputs& inputs) {
  const at::Tensor& tokens = inputs.token_mask;
  if (forced.is_floating_point() || forced.dim() != 3 ||
      forced.sizes().slice(0, 2) != tokens.sizes()) {
    return;
  }
  const at::Tensor choice = forced.to(at::kLong);
  const std::int64_t width = choice.size(2);
  const bool* is_token = tokens.const_data_ptr<bool>();
  for (std::int64_t row = 0; row < tokens.numel(); ++row) {
    const std::span<const std::int64_t> values(choice.const_data_ptr<std::int64_t>() + row * width,
                                               static_cast<std::size_t>(width));
    const auto refuse_unless = [&](bool ok, const std::string& expected, std::int64_t found) {
      SPARITY_CHECK_INPUT(ok,
                          fmt::format("{}: tensor '{}'[{}, {}]: expected {}, found {}", path, name,
                                      row / tokens.size(1), row % tokens.size(1), expected, found));
    };
    for (const std::int64_t value : values) {
      refuse_unless(value >= range.least && value <= range.most,
                    fmt::format("indices from {} to {}", range.least, range.most), value);
    }
    const std::optional<std::int64_t> twice = repeated(values);
    refuse_unless(!is_token[row] || !twice, "no index twice", twice.value_or(-1));
  }
}

}  // namespace

std::vector<std::string> force_from_file(const ForcedFile& forced, const core::ModelConfig& config,
                                         const tensors::Inputs& inputs,
                                         tensors::Recorder& recorder) {
  std::vector<std::string> names;
  if (forced.path.empty()) {
    return names;
  }
  const core::SafetensorsFile file(forced.path);
  for (const auto& [name, entry] : file.tensors()) {
    if (fnmatch(forced.names.c_str(), name.c_str(), 0) != 0) {
      continue;
    }
    SPARITY_CHECK_INPUT(
        name.starts_with(kTracePrefix),
        fmt::format("{}: tensor '{}': expected names that start with 'trace.'; choose "
                    "with --force-names",
                    forced.path, name));
    at::Tensor value = at::empty(entry.shape, tensors::to_scalar_type(entry.dtype));
    file.read(name, {static_cast<std::byte*>(value.mutable_data_ptr()), value.nbytes()});
    if (is_choice(name)) {
      check_choice(forced.path, name, value, range_of(name, config, inputs), inputs);
    }
    recorder.force(name.substr(kTracePrefix.size()), value);
    names.push_back(name);
  }
  SPARITY_CHECK_INPUT(!names.empty(), fmt::format("{}: no tensor that --force-names '{}' matches",
                                                  forced.path, forced.names));
  return names;
}

std::map<std::string, std::string> forced_metadata(const ForcedFile& forced,
                                                   const std::vector<std::string>& names) {
  std::vector<std::string> values;
  std::ranges::remove_copy_if(names, std::back_inserter(values), is_choice);
  const std::size_t choices = names.size() - values.size();
  std::string listed = fmt::format(
      "{}", fmt::join(values.begin(),
                      values.begin() +
                          static_cast<std::ptrdiff_t>(std::min(values.size(), kListedForces)),
                      ","));
  if (values.size() > kListedForces) {
    listed += fmt::format(" and {} more", values.size() - kListedForces);
  }
  std::map<std::string, std::string> metadata = {{"forced_choices", std::to_string(choices)},
                                                 {"forced_values", listed}};
  if (!names.empty()) {
    metadata["forced_sha256"] = core::sha256_of_file(forced.path);
  }
  return metadata;
}

void check_all_used(const ForcedFile& forced, const tensors::Recorder& recorder) {
  for (const std::string& name : recorder.unused_forces()) {
    SPARITY_FAIL_INPUT(
        fmt::format("{}: 'trace.{}': no intermediate of that name to replace", forced.path, name));
  }
}

}  // namespace sparity::cli
