#pragma once

#include <filesystem>

namespace sparity::core {

/// Flushes a folder's list of names to disk, where the file system does such a thing. Failures are
/// exit code 4.
void flush_folder(const std::filesystem::path& folder);

/// A folder that appears under its name only when it is whole: filled as `<name>.tmp` beside its
/// destination, renamed, and the parent flushed. Files in it must have been flushed by whoever
/// wrote them. Destroyed without `commit`, it leaves no trace; killed, a `<name>.tmp` that the next
/// one of that name replaces. One writer a destination at a time.
class AtomicFolder {
 public:
  /// Throws (exit code 5) when the destination exists or nothing can be created beside it.
  explicit AtomicFolder(const std::filesystem::path& destination);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  /// Where the folder of that destination is filled.
  static std::filesystem::path temporary_of(const std::filesystem::path& destination);

  /// Where to write.
  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path destination_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

}  // namespace sparity::core
