#pragma once

#include "src/core/dtype.h"

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace sparity::cli {

/// What `sparity run` leaves: named tensors, kept alive until written. Floating ones are stored in
/// float32, or float64 for a float64 run.
class RunOutput {
 public:
  explicit RunOutput(core::Dtype dtype);

  void add(const std::string& name, const at::Tensor& value);
  /// Writes the file atomically; names with non-finite values go into its metadata.
  void write(const std::string& path, std::map<std::string, std::string> metadata) const;
  /// Names that hold NaN or an infinity where none is defined.
  const std::vector<std::string>& non_finite() const { return non_finite_; }

 private:
  at::ScalarType floating_;
  std::vector<std::pair<std::string, at::Tensor>> tensors_;
  std::vector<std::string> non_finite_;
};

}  // namespace sparity::cli
