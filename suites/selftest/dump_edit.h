#pragma once

#include "src/core/dtype.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace sparity::selftest {

/// A safetensors file in memory, to be tampered with and written again.
struct DumpEdit {
  struct Stored {
    core::Dtype dtype = core::Dtype::kF32;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;
  };

  explicit DumpEdit(const std::filesystem::path& path);

  std::map<std::string, Stored> tensors;
  std::map<std::string, std::string> metadata;

  /// The elements of a tensor of 4-byte or 8-byte type `Value`, changed in place.
  template <typename Value>
  Value* values(const std::string& name) {
    return reinterpret_cast<Value*>(tensors.at(name).bytes.data());
  }
  void write(const std::filesystem::path& path) const;
};

/// Copies `from` to `to` with `change` made on the way.
void edit(const std::filesystem::path& from, const std::filesystem::path& to,
          const std::function<void(DumpEdit&)>& change);

}  // namespace sparity::selftest
