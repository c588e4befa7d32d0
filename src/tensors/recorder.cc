#include "src/tensors/recorder.h"

#include "src/core/error.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <fnmatch.h>
#include <utility>

namespace sparity::tensors {

namespace {

bool glob_matches(const std::string& glob, const std::string& name) {
  return fnmatch(glob.c_str(), name.c_str(), 0) == 0;
}

void check_forced_shape(const std::string& name, at::IntArrayRef expected, at::IntArrayRef found) {
  SPARITY_CHECK_INPUT(expected == found,
                      fmt::format("forced '{}': expected shape [{}], found [{}]", name,
                                  fmt::join(expected.vec(), ", "), fmt::join(found.vec(), ", ")));
}

}  // namespace

Recorder::Recorder(std::vector<std::string> capture_globs) : globs_(std::move(capture_globs)) {}

void Recorder::force(std::string name, at::Tensor value) {
  forced_[std::move(name)] = std::move(value);
}

bool Recorder::matches(const std::string& name) const {
  return std::ranges::any_of(globs_, [&](const auto& glob) { return glob_matches(glob, name); });
}

bool Recorder::wants(const std::string& name) const {
  return forced_.contains(name) || matches(name);
}

void Recorder::note(const std::string& name) { order_.push_back(name); }

at::Tensor Recorder::visit(const std::string& name, const at::Tensor& value) {
  note(name);
  at::Tensor result = value;
  if (const auto forced = forced_.find(name); forced != forced_.end()) {
    check_forced_shape(name, value.sizes(), forced->second.sizes());
    result = forced->second.to(value.scalar_type());
  }
  if (matches(name)) {
    captured_[name] = result.detach().clone(at::MemoryFormat::Contiguous);
  }
  return result;
}

at::Tensor Recorder::visit_tile(const std::string& name, std::int64_t rows, std::int64_t row0,
                                const at::Tensor& tile) {
  std::vector<std::int64_t> shape = tile.sizes().vec();
  shape.at(1) = rows;
  if (row0 == 0) {
    note(name);
  }
  at::Tensor result = tile;
  if (const auto forced = forced_.find(name); forced != forced_.end()) {
    check_forced_shape(name, shape, forced->second.sizes());
    result = forced->second.narrow(1, row0, tile.size(1)).to(tile.scalar_type());
  }
  if (matches(name)) {
    if (row0 == 0) {
      captured_[name] = at::empty(shape, tile.options());
    }
    captured_.at(name).narrow(1, row0, tile.size(1)).copy_(result.detach());
  }
  return result;
}

std::vector<std::string> Recorder::unmatched_globs() const {
  std::vector<std::string> unmatched;
  for (const std::string& glob : globs_) {
    if (std::ranges::none_of(order_, [&](const auto& name) { return glob_matches(glob, name); })) {
      unmatched.push_back(glob);
    }
  }
  return unmatched;
}

std::vector<std::string> Recorder::unused_forces() const {
  std::vector<std::string> unused;
  for (const auto& [name, value] : forced_) {
    if (std::ranges::find(order_, name) == order_.end()) {
      unused.push_back(name);
    }
  }
  return unused;
}

}  // namespace sparity::tensors
