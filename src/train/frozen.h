#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace sparity::train {

/// Watches tensors that nobody may write: their hashes from the beginning.
class FrozenBytes {
 public:
  explicit FrozenBytes(std::map<std::string, at::Tensor> tensors);

  /// Throws (exit code 6), naming each tensor whose bytes are not those of the beginning.
  void check() const;
  /// SHA-256 over all names and hashes of the beginning.
  std::string digest() const;

 private:
  std::map<std::string, at::Tensor> tensors_;
  std::map<std::string, std::string> hashes_;
};

}  // namespace sparity::train
