#include "src/tensors/recorder.h"

#include "src/core/error.h"
#include "src/core/philox.h"
#include "src/tensors/at_dtype.h"
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

/// `found` stands in for `value`, or for a tensor of `shape` of which that is a part.
void check_forced(const std::string& name, at::IntArrayRef shape, const at::Tensor& value,
                  const at::Tensor& found) {
  SPARITY_CHECK_INPUT(
      shape == found.sizes(),
      fmt::format("forced '{}': expected shape [{}], found [{}]", name,
                  fmt::join(shape.vec(), ", "), fmt::join(found.sizes().vec(), ", ")));
  SPARITY_CHECK_INPUT(
      value.is_floating_point() == found.is_floating_point(),
      fmt::format("forced '{}': expected {}, found {}", name, c10::toString(value.scalar_type()),
                  c10::toString(found.scalar_type())));
}

/// The embedding, and the stream "layers.N".
bool is_rounded_nowhere(const std::string& name) {
  constexpr std::string_view kLayers = "layers.";
  return name == "embed_tokens" ||
         (name.starts_with(kLayers) && name.find('.', kLayers.size()) == std::string::npos);
}

}  // namespace

std::string gradient_name(const std::string& name) { return "grad." + name; }

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

bool Recorder::visited(const std::string& name) const {
  return std::ranges::find(order_, name) != order_.end() ||
         std::ranges::find(gradient_order_, name) != gradient_order_.end();
}

at::Tensor Recorder::replacement(const std::string& name, const at::Tensor& value) const {
  const auto forced = forced_.find(name);
  if (forced == forced_.end()) {
    return value;
  }
  check_forced(name, value.sizes(), value, forced->second);
  return forced->second.to(value.scalar_type());
}

at::Tensor Recorder::dithered(const std::string& name, const at::Tensor& value) const {
  if (!dither_seed_ || !value.is_floating_point() || forced_.contains(name) ||
      is_rounded_nowhere(name)) {
    return value;
  }
  const core::RandomStream stream(*dither_seed_, name);
  const double roundoff = core::unit_roundoff(to_dtype(value.scalar_type()));
  at::Tensor factors = at::empty(value.sizes(), at::kDouble);
  double* factor = factors.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < factors.numel(); ++i) {
    factor[i] = 1 + roundoff * (2 * stream.uniform(static_cast<std::uint64_t>(i)) - 1);
  }
  return value.detach().to(at::kDouble).mul_(factors).to(value.scalar_type());
}

void Recorder::capture_gradient(const std::string& name, const at::Tensor& gradient) {
  gradient_order_.push_back(name);
  if (matches(name)) {
    captured_[name] = gradient.detach().clone(at::MemoryFormat::Contiguous);
  }
}

at::Tensor Recorder::visit(Pass pass, const std::string& name, const at::Tensor& value) {
  at::Tensor result = replacement(name, value);
  if (!result.is_same(value)) {
    result = replace_value(value, result);
  }
  if (pass == Pass::kFirst) {
    order_.push_back(name);
    if (matches(name)) {
      captured_[name] = result.detach().clone(at::MemoryFormat::Contiguous);
    }
  }
  if (const at::Tensor noisy = dithered(name, result); !noisy.is_same(result)) {
    result = replace_value(result, noisy);
  }
  if (const std::string back = gradient_name(name);
      result.requires_grad() && (wants(back) || dither_seed_)) {
    result.register_hook([this, back](const at::Tensor& gradient) {
      capture_gradient(back, gradient);
      return dithered(back, replacement(back, gradient));
    });
  }
  return result;
}

void Recorder::visit_sum_gradient(const std::string& name, const std::vector<at::Tensor>& parts) {
  const std::string back = gradient_name(name);
  if (!wants(back) && !dither_seed_) {
    return;
  }
  // Another name may stand for an earlier part: the last one is captured.
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].requires_grad()) {
      parts[i].register_hook(
          [this, back, last = i + 1 == parts.size()](const at::Tensor& gradient) {
            if (last) {
              capture_gradient(back, gradient);
            }
            return dithered(back, replacement(back, gradient));
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
    check_forced(name, shape, tile, forced->second);
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
    const auto matched = [&](const std::string& name) { return glob_matches(glob, name); };
    if (std::ranges::none_of(order_, matched) && std::ranges::none_of(gradient_order_, matched)) {
      unmatched.push_back(glob);
    }
  }
  return unmatched;
}

std::vector<std::string> Recorder::unused_forces() const {
  std::vector<std::string> unused;
  for (const auto& [name, value] : forced_) {
    if (!visited(name)) {
      unused.push_back(name);
    }
  }
  return unused;
}

}  // namespace sparity::tensors
