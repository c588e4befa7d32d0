#pragma once

#include "src/tensors/probe.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sparity::tensors {

/// The name under which the gradient of the intermediate `name` is captured and forced.
std::string gradient_name(const std::string& name);  // "grad." + name

/// The sink that captures and replaces. Capturing is inert: values and gradients are copied out,
/// never changed. Must outlive the backward pass of what it has seen.
class Recorder : public ProbeSink {
 public:
  /// Captures every name that one of the globs matches (as fnmatch does: `*` crosses dots), be it
  /// of a value or of a gradient.
  explicit Recorder(std::vector<std::string> capture_globs = {});

  /// From now on `name` is replaced by `value` (converted to the dtype of what it replaces). Throws
  /// (exit code 5) when it is visited with another shape. Gradients pass a replaced value as if it
  /// had not been replaced. A replaced gradient is captured as it arrived, so with every gradient
  /// forced each captured one shows the error of a single step.
  void force(std::string name, at::Tensor value);

  /// From now on every value and gradient that is not forced leaves with an error of its own, after
  /// it was captured: x · (1 + u·ξ), rounded to x's dtype, ξ uniform in [−1, 1) by (seed, name,
  /// element) and u the unit roundoff of that dtype. So a run shows what roundings other than its
  /// own would have done to it. Not the embedding, which is a copy, nor layers' streams, which
  /// nobody needs to form, nor what is passed tile by tile.
  void dither(std::uint64_t seed) { dither_seed_ = seed; }

  at::Tensor visit(Pass pass, const std::string& name, const at::Tensor& value) override;
  void visit_sum_gradient(const std::string& name, const std::vector<at::Tensor>& parts) override;
  at::Tensor visit_tile(Pass pass, const std::string& name, std::int64_t rows, std::int64_t row0,
                        const at::Tensor& tile) override;
  bool wants(const std::string& name) const override;

  /// A gradient that never arrived is absent.
  const std::map<std::string, at::Tensor>& captured() const { return captured_; }
  /// Every visited value's name, in execution order, captured or not.
  const std::vector<std::string>& order() const { return order_; }
  /// Names of gradients, in order of arrival; of those that are captured or forced.
  const std::vector<std::string>& gradient_order() const { return gradient_order_; }
  /// Globs that matched nothing, and forced names that were never visited.
  std::vector<std::string> unmatched_globs() const;
  std::vector<std::string> unused_forces() const;

 private:
  bool matches(const std::string& name) const;
  bool visited(const std::string& name) const;
  at::Tensor replacement(const std::string& name, const at::Tensor& value) const;
  at::Tensor dithered(const std::string& name, const at::Tensor& value) const;
  void capture_gradient(const std::string& name, const at::Tensor& gradient);

  std::optional<std::uint64_t> dither_seed_;
  std::vector<std::string> globs_;
  std::map<std::string, at::Tensor> forced_;
  std::map<std::string, at::Tensor> captured_;
  std::vector<std::string> order_;
  std::vector<std::string> gradient_order_;
};

}  // namespace sparity::tensors
