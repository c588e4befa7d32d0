#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace sparity::core {

/// An open regular file, read by position: a file that shrinks meanwhile is an error, not a SIGBUS.
class InputFile {
 public:
  /// Throws (exit code 5) when the path is missing, unreadable or not a regular file.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  /// Fills `out` from `offset`; throws (exit code 5) when the file ends before or cannot be read.
  void read(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

/// A file that appears under its name only when it is whole: written beside its destination,
/// flushed to disk, renamed, and the directory flushed. Destroyed without `commit`, it leaves no
/// trace. Failures to create are exit code 5 (the path is the user's); failures to write are exit
/// code 4. Only regular files are replaced; of a link, its target. One writer a destination and
/// process at a time: the temporary file is `.<name>.tmp.<pid>`.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& destination);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();

 private:
  std::filesystem::path destination_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// The whole file as text; throws above `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes);

/// Lower-case hexadecimal SHA-256.
std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view text);
/// Of a file's bytes, read piece by piece.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace sparity::core
