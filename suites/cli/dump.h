#pragma once

#include "src/core/dtype.h"
#include "suites/judge/tensor.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sparity::cli {

/// A `sparity run` file, or another framework's dump under the same names.
struct Dump {
  std::string path;
  std::map<std::string, judge::Tensor> tensors;  // 16-bit types widened to F32, which is exact
  std::map<std::string, std::string> metadata;
  std::map<std::string, core::Dtype> stored;  // as the file holds each tensor

  const judge::Tensor& at(const std::string& name) const { return tensors.at(name); }
  bool contains(const std::string& name) const { return tensors.contains(name); }
};

/// What the metadata say under `key`.
std::optional<std::string> recorded(const Dump& dump, const std::string& key);

/// Throws (exit code 5): file, key, expected and found.
[[noreturn]] void refuse_metadata(const Dump& dump, std::string_view key,
                                  const std::string& expected, const std::string& found);

/// Reads every tensor. Throws (exit code 5) for a name that no dump may have.
Dump read_dump(const std::string& path);

/// Sets the rows that are no tokens to `value`. Tensors without such rows stay as they are.
void fill_padding(judge::Tensor& tensor, const std::vector<bool>& token_rows, double value);

/// Of chosen keys or experts: "….topk_indices".
bool is_choice(const std::string& name);

/// Of an intermediate ("trace.grad.…") or of a parameter ("grad.…").
bool is_gradient(const std::string& name);

/// Where a name stands in the order of execution: by layer, then by place within the layer.
/// Gradients come after everything, intermediates' in reverse, parameters' last.
std::pair<std::int64_t, int> execution_order(const std::string& name);

}  // namespace sparity::cli
