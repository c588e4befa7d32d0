#pragma once

#include "src/core/dtype.h"
#include "src/core/file_io.h"

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::core {

/// One tensor of a safetensors file: little-endian, row-major, `begin`/`end` counted from the first
/// data byte of the file.
struct TensorEntry {
  Dtype dtype = Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::map<std::string, TensorEntry> tensors;
  std::map<std::string, std::string> metadata;
  std::uint64_t data_offset = 0;  // bytes before the data: 8 + header length
};

/// N, the header's length, from a file's first 8 bytes; throws (exit code 5) when it exceeds 100 MB
/// or the file.
std::uint64_t safetensors_header_length(std::span<const std::byte, 8> first,
                                        std::uint64_t file_size, const std::string& source);

/// Parses and validates the header of a file of `file_size` bytes from its first bytes (8 + N of
/// them). Demands what the format demands, and refuses with exit code 5 and a message that starts
/// with `source`: see the reject list in docs/testing.md. Tensors may be listed in any order; their
/// data must cover the buffer without hole or overlap. FP8 and other types that exist in the format
/// but not here are named in the refusal.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> prefix,
                                           std::uint64_t file_size, const std::string& source);

/// A validated file, open for reading. Each tensor is read straight into the memory that will hold
/// it.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, TensorEntry>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  bool contains(const std::string& name) const { return header_.tensors.contains(name); }
  /// Throws (exit code 5), naming the file and the tensor, when there is none of that name.
  const TensorEntry& at(const std::string& name) const;
  /// `out` must have exactly the tensor's byte count. Throws (exit code 5) when the file has shrunk
  /// meanwhile, or a BOOL byte is neither 0 nor 1.
  void read(const std::string& name, std::span<std::byte> out) const;
  std::vector<std::byte> read(const std::string& name) const;

 private:
  InputFile file_;
  SafetensorsHeader header_;
};

/// A tensor to be written; the bytes are borrowed.
struct TensorBytes {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes atomically. Tensors are laid out by element size (largest first), then name, and the
/// header is padded to 8 bytes, so that every tensor is aligned; two calls with the same content
/// write the same bytes. Duplicate names, names that the reader would refuse, and shapes that don't
/// match the byte count are exit code 6: the caller's mistake. Metadata that is no UTF-8 is written
/// with U+FFFD in its place.
void write_safetensors(const std::filesystem::path& path, std::vector<TensorBytes> tensors,
                       const std::map<std::string, std::string>& metadata = {});

/// A checkpoint's weights in a model folder: one file, or shards and their index.
inline constexpr const char* kWeightsFile = "model.safetensors";
inline constexpr const char* kWeightsIndexFile = "model.safetensors.index.json";

/// What `model.safetensors.index.json` says.
struct ShardIndex {
  std::map<std::string, std::string> weight_map;  // tensor name -> bare file name
  std::optional<double> total_size;               // bytes
};

/// Reads an index; throws (exit code 5) with `source`, JSON pointer, expected and found.
ShardIndex parse_shard_index(const nlohmann::json& document, const std::string& source);

/// The tensors of a checkpoint folder: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` lists. With both, the single file counts and the index draws a
/// warning, as transformers has it.
class ShardedSafetensors {
 public:
  /// Refuses an index that names a missing shard, a path outside the folder, a tensor that its
  /// shard lacks, or a tensor that stands in two shards or in a shard without being indexed. A
  /// `total_size` that does not match only adds to `warnings()`.
  static ShardedSafetensors open(const std::filesystem::path& folder);

  struct Location {
    std::size_t shard = 0;
    TensorEntry entry;
  };
  const std::map<std::string, Location>& tensors() const { return tensors_; }
  const std::vector<SafetensorsFile>& shards() const { return shards_; }
  const std::vector<std::string>& warnings() const { return warnings_; }
  void read(const std::string& name, std::span<std::byte> out) const;

 private:
  void add_shard(const std::filesystem::path& path);
  void open_index(const std::filesystem::path& folder);

  std::vector<SafetensorsFile> shards_;
  std::map<std::string, Location> tensors_;
  std::vector<std::string> warnings_;
};

}  // namespace sparity::core
