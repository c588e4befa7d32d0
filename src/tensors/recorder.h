#pragma once

#include "src/tensors/probe.h"

#include <map>
#include <string>
#include <vector>

namespace sparity::tensors {

/// The sink that captures and replaces. Capturing is inert: values are copied out, never changed.
class Recorder : public ProbeSink {
 public:
  /// Captures every name that one of the globs matches (as fnmatch does: `*` crosses dots).
  explicit Recorder(std::vector<std::string> capture_globs = {});

  /// From now on `name` is replaced by `value` (converted to the dtype of what it replaces). Throws
  /// (exit code 5) when it is visited with another shape.
  void force(std::string name, at::Tensor value);

  at::Tensor visit(const std::string& name, const at::Tensor& value) override;
  at::Tensor visit_tile(const std::string& name, std::int64_t rows, std::int64_t row0,
                        const at::Tensor& tile) override;
  bool wants(const std::string& name) const override;

  const std::map<std::string, at::Tensor>& captured() const { return captured_; }
  /// Every visited name, in execution order, captured or not.
  const std::vector<std::string>& order() const { return order_; }
  /// Globs that matched nothing, and forced names that were never visited.
  std::vector<std::string> unmatched_globs() const;
  std::vector<std::string> unused_forces() const;

 private:
  bool matches(const std::string& name) const;
  void note(const std::string& name);

  std::vector<std::string> globs_;
  std::map<std::string, at::Tensor> forced_;
  std::map<std::string, at::Tensor> captured_;
  std::vector<std::string> order_;
};

}  // namespace sparity::tensors
