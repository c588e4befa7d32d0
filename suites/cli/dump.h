#pragma once

#include "suites/judge/tensor.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sparity::cli {

/// A `sparity run` file, or another framework's dump under the same names.
struct Dump {
  std::string path;
  std::map<std::string, judge::Tensor> tensors;
  std::map<std::string, std::string> metadata;

  const judge::Tensor& at(const std::string& name) const { return tensors.at(name); }
  bool contains(const std::string& name) const { return tensors.contains(name); }
};

/// Reads every tensor. Throws (exit code 5) for a name that no dump may have.
Dump read_dump(const std::string& path);

/// Which of the B·S rows are tokens; empty when none is padding. From `attention_mask` of an inputs
/// file.
std::vector<bool> token_rows(const std::string& inputs_path);

/// Sets the rows of padded tokens to `value`. Tensors without such rows stay as they are.
void fill_padding(judge::Tensor& tensor, const std::vector<bool>& token_rows, double value);

/// Of an intermediate ("trace.grad.…") or of a parameter ("grad.…").
bool is_gradient(const std::string& name);

/// Where a name stands in the order of execution: by layer, then by place within the layer.
/// Gradients come after everything, intermediates' in reverse, parameters' last.
std::pair<std::int64_t, int> execution_order(const std::string& name);

}  // namespace sparity::cli
