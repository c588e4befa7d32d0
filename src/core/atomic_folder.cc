#include "src/core/atomic_folder.h"

#include "src/core/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>

namespace sparity::core {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_write(const fs::path& path, const std::string& reason) {
  throw_error(ExitCode::kCrashed, fmt::format("{}: cannot write: {}", path.string(), reason),
              __FILE__, __LINE__);
}

/// "out/" means "out".
fs::path without_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

void flush_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    return;  // a folder that may be written but not read: the file itself is safe by now
  }
  const int outcome = ::fsync(descriptor);
  const int error_number = errno;
  ::close(descriptor);
  // EINVAL: the file system has nothing to flush for a folder.
  if (outcome != 0 && error_number != EINVAL) {
    fail_write(folder, std::strerror(error_number));
  }
}

AtomicFolder::AtomicFolder(const fs::path& destination)
    : destination_(without_slash(destination)), temporary_(temporary_of(destination_)) {
  SPARITY_CHECK_INPUT(
      !fs::exists(destination_),
      fmt::format("{}: expected no such folder yet, found one", destination_.string()));
  std::error_code failure;
  fs::remove_all(temporary_, failure);  // what a dead process left behind
  fs::create_directory(temporary_, failure);
  SPARITY_CHECK_INPUT(!failure,
                      fmt::format("{}: cannot create: {}", temporary_.string(), failure.message()));
}

fs::path AtomicFolder::temporary_of(const fs::path& destination) {
  return without_slash(destination).string() + ".tmp";
}

AtomicFolder::~AtomicFolder() {
  if (!committed_) {
    std::error_code ignored;
    fs::remove_all(temporary_, ignored);
  }
}

void AtomicFolder::commit() {
  SPARITY_CHECK(!committed_, fmt::format("{}: committed twice", destination_.string()));
  flush_folder(temporary_);
  std::error_code failure;
  fs::rename(temporary_, destination_, failure);
  if (failure) {
    fail_write(destination_, failure.message());
  }
  committed_ = true;
  flush_folder(destination_.has_parent_path() ? destination_.parent_path() : fs::path("."));
}

}  // namespace sparity::core
