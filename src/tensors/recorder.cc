#include "src/tensors/recorder.h"

#include "src/core/error.h"
#include "src/tensors/replace_value.h"

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

bool any_matches(const std::vector<std::string>& globs, const std::string& name) {
  return std::ranges::any_of(globs, [&](const auto& glob) { return glob_matches(glob, name); });
}

void check_forced_shape(const std::string& name, at::IntArrayRef expected, at::IntArrayRef found) {
  SPARITY_CHECK_INPUT(expected == found,
                      fmt::format("forced '{}': expected shape [{}], found [{}]", name,
                                  fmt::join(expected.vec(), ", "), fmt::join(found.vec(), ", ")));
}

}  // namespace

Recorder::Recorder(std::vector<std::string> capture_globs, std::vector<std::string> gradient_globs)
    : globs_(std::move(capture_globs)), gradient_globs_(std::move(gradient_globs)) {}

void Recorder::force(std::string name, at::Tensor value) {
  forced_[std::move(name)] = std::move(value);
}

void Recorder::force_gradient(std::string name, at::Tensor gradient) {
  forced_gradients_[std::move(name)] = std::move(gradient);
}

bool Recorder::matches(const std::string& name) const { return any_matches(globs_, name); }

bool Recorder::watches_gradient(const std::string& name) const {
  return forced_gradients_.contains(name) || any_matches(gradient_globs_, name);
}

bool Recorder::wants(const std::string& name) const {
  return forced_.contains(name) || matches(name);
}

at::Tensor Recorder::replacement(const std::string& name, const at::Tensor& value) const {
  const auto forced = forced_.find(name);
  if (forced == forced_.end()) {
    return value;
  }
  check_forced_shape(name, value.sizes(), forced->second.sizes());
  return replace_value(value, forced->second.to(value.scalar_type()));
}

void Recorder::capture_gradient(const std::string& name, const at::Tensor& gradient) {
  if (any_matches(gradient_globs_, name)) {
    gradient_order_.push_back(name);
    gradients_[name] = gradient.detach().clone(at::MemoryFormat::Contiguous);
  }
}

at::Tensor Recorder::gradient_to_pass_on(const std::string& name,
                                         const at::Tensor& gradient) const {
  const auto forced = forced_gradients_.find(name);
  if (forced == forced_gradients_.end()) {
    return gradient;
  }
  check_forced_shape("grad." + name, gradient.sizes(), forced->second.sizes());
  return forced->second.to(gradient.scalar_type());
}

at::Tensor Recorder::visit(Pass pass, const std::string& name, const at::Tensor& value) {
  const at::Tensor result = replacement(name, value);
  if (pass == Pass::kFirst) {
    order_.push_back(name);
    if (matches(name)) {
      captured_[name] = result.detach().clone(at::MemoryFormat::Contiguous);
    }
  }
  if (result.requires_grad() && watches_gradient(name)) {
    result.register_hook([this, name](const at::Tensor& gradient) {
      capture_gradient(name, gradient);
      return gradient_to_pass_on(name, gradient);
    });
  }
  return result;
}

void Recorder::visit_sum_gradient(const std::string& name, const std::vector<at::Tensor>& parts) {
  if (!watches_gradient(name)) {
    return;
  }
  // Another name may stand for an earlier part: the last one is captured.
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].requires_grad()) {
      parts[i].register_hook(
          [this, name, last = i + 1 == parts.size()](const at::Tensor& gradient) {
            if (last) {
              capture_gradient(name, gradient);
            }
            return gradient_to_pass_on(name, gradient);
          });
    }
  }
}

at::Tensor Recorder::visit_tile(Pass pass, const std::string& name, std::int64_t rows,
                                std::int64_t row0, const at::Tensor& tile) {
  std::vector<std::int64_t> shape = tile.sizes().vec();
  shape.at(1) = rows;
  at::Tensor result = tile;
  if (const auto forced = forced_.find(name); forced != forced_.end()) {
    check_forced_shape(name, shape, forced->second.sizes());
    result = forced->second.narrow(1, row0, tile.size(1)).to(tile.scalar_type());
  }
  if (pass == Pass::kAgain) {
    return result;
  }
  if (row0 == 0) {
    order_.push_back(name);
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
