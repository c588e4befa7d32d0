#include "src/train/frozen.h"

#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/tensors/at_dtype.h"

namespace sparity::train {

namespace {

std::string hash_of(const at::Tensor& tensor) {
  return core::sha256_hex(tensors::bytes_of(tensor.contiguous()));
}

}  // namespace

FrozenBytes::FrozenBytes(std::map<std::string, at::Tensor> tensors) : tensors_(std::move(tensors)) {
  for (const auto& [name, tensor] : tensors_) {
    hashes_.emplace(name, hash_of(tensor));
  }
}

void FrozenBytes::check() const {
  std::string changed;
  for (const auto& [name, tensor] : tensors_) {
    if (hash_of(tensor) != hashes_.at(name)) {
      changed += (changed.empty() ? "" : ", ") + name;
    }
  }
  SPARITY_CHECK(changed.empty(), "frozen parameters have changed: " + changed);
}

std::string FrozenBytes::digest() const {
  std::string all;
  for (const auto& [name, hash] : hashes_) {
    all += name + " " + hash + "\n";
  }
  return core::sha256_hex(all);
}

}  // namespace sparity::train
