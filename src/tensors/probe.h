#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace sparity::tensors {

/// Sees every named intermediate of a forward pass. Names are those of docs/naming.md.
class ProbeSink {
 public:
  virtual ~ProbeSink() = default;

  /// Called once for each name, in execution order. Returns `value` or its replacement (same shape;
  /// for discrete selections that is how they are forced).
  virtual at::Tensor visit(const std::string& name, const at::Tensor& value) = 0;

  /// True when somebody wants `name`: implementations may skip work that only a trace needs.
  virtual bool wants(const std::string& name) const = 0;

  /// For names that exist only tile by tile: rows [row0, row0 + tile.size(1)) of a [B, rows, …]
  /// tensor. Returns the tile or its replacement.
  virtual at::Tensor visit_tile(const std::string& name, std::int64_t rows, std::int64_t row0,
                                const at::Tensor& tile) = 0;
};

/// The handle that implementations pass down: a sink, or nothing, and a name prefix. With no sink a
/// call costs one pointer test and never touches a string.
class Probe {
 public:
  Probe() = default;
  explicit Probe(ProbeSink* sink) : sink_(sink) {}

  at::Tensor operator()(std::string_view name, const at::Tensor& value) const {
    return sink_ == nullptr ? value : sink_->visit(join(name), value);
  }
  at::Tensor tile(std::string_view name, std::int64_t rows, std::int64_t row0,
                  const at::Tensor& value) const {
    return sink_ == nullptr ? value : sink_->visit_tile(join(name), rows, row0, value);
  }
  bool wants(std::string_view name) const { return sink_ != nullptr && sink_->wants(join(name)); }

  /// The probe of a part: its names are prefixed by "part.".
  Probe scope(std::string_view part) const {
    return sink_ == nullptr ? Probe() : Probe(sink_, join(part) + ".");
  }
  Probe layer(std::int64_t index) const {
    return sink_ == nullptr ? Probe() : scope("layers." + std::to_string(index));
  }

 private:
  Probe(ProbeSink* sink, std::string prefix) : sink_(sink), prefix_(std::move(prefix)) {}
  std::string join(std::string_view name) const { return prefix_ + std::string(name); }

  ProbeSink* sink_ = nullptr;
  std::string prefix_;
};

}  // namespace sparity::tensors
