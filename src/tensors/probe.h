#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::tensors {

/// Whether a forward pass runs for the first time, or again because the backward pass needs what
/// was not kept. A second time replaces what the first replaced, but notes and captures nothing.
enum class Pass { kFirst, kAgain };

/// Sees every named intermediate of a forward pass and, where autograd recorded it, the gradient
/// that reaches it. Names are those of docs/naming.md.
class ProbeSink {
 public:
  virtual ~ProbeSink() = default;

  /// Called once for each name, in execution order. Returns `value` or its replacement (same shape;
  /// for discrete selections that is how they are forced).
  virtual at::Tensor visit(Pass pass, const std::string& name, const at::Tensor& value) = 0;

  /// The gradient of a value that is the sum of `parts` and that nobody may have formed: each part
  /// receives the whole sum's gradient.
  virtual void visit_sum_gradient(const std::string& name,
                                  const std::vector<at::Tensor>& parts) = 0;

  /// True when somebody wants `name`: implementations may skip work that only a trace needs.
  virtual bool wants(const std::string& name) const = 0;

  /// For names that exist only tile by tile: rows [row0, row0 + tile.size(1)) of a [B, rows, …]
  /// tensor. Returns the tile or its replacement.
  virtual at::Tensor visit_tile(Pass pass, const std::string& name, std::int64_t rows,
                                std::int64_t row0, const at::Tensor& tile) = 0;
};

/// The handle that implementations pass down: a sink, or nothing, and a name prefix. With no sink a
/// call costs one pointer test and never touches a string.
class Probe {
 public:
  Probe() = default;
  explicit Probe(ProbeSink* sink) : sink_(sink) {}

  at::Tensor operator()(std::string_view name, const at::Tensor& value) const {
    return sink_ == nullptr ? value : sink_->visit(pass_, join(name), value);
  }
  void sum_gradient(std::string_view name, const std::vector<at::Tensor>& parts) const {
    if (sink_ != nullptr) {
      sink_->visit_sum_gradient(join(name), parts);
    }
  }
  at::Tensor tile(std::string_view name, std::int64_t rows, std::int64_t row0,
                  const at::Tensor& value) const {
    return sink_ == nullptr ? value : sink_->visit_tile(pass_, join(name), rows, row0, value);
  }
  bool wants(std::string_view name) const { return sink_ != nullptr && sink_->wants(join(name)); }
  /// Somebody wants the gradient of `name`.
  bool wants_gradient(std::string_view name) const {
    return sink_ != nullptr && sink_->wants("grad." + join(name));
  }

  /// The probe of a part: its names are prefixed by "part.".
  Probe scope(std::string_view part) const {
    return sink_ == nullptr ? Probe() : Probe(sink_, pass_, join(part) + ".");
  }
  Probe layer(std::int64_t index) const {
    return sink_ == nullptr ? Probe() : scope("layers." + std::to_string(index));
  }
  /// The same probe for a forward pass that is run again.
  Probe again() const { return sink_ == nullptr ? Probe() : Probe(sink_, Pass::kAgain, prefix_); }

 private:
  Probe(ProbeSink* sink, Pass pass, std::string prefix)
      : sink_(sink), pass_(pass), prefix_(std::move(prefix)) {}
  std::string join(std::string_view name) const { return prefix_ + std::string(name); }

  ProbeSink* sink_ = nullptr;
  Pass pass_ = Pass::kFirst;
  std::string prefix_;
};

}  // namespace sparity::tensors
