#include "src/core/file_io.h"

#include "src/core/atomic_folder.h"
#include "src/core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sparity::core {

namespace {

namespace fs = std::filesystem;

/// Linux transfers at most 0x7ffff000 bytes in one call.
constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;

std::string reason(int error_number) { return std::strerror(error_number); }

void close_descriptor(int& descriptor) noexcept {
  if (descriptor >= 0) {
    ::close(descriptor);
    descriptor = -1;
  }
}

/// The file that `destination` stands for: a link's target, so that the link survives.
fs::path resolve_destination(const fs::path& destination) {
  SPARITY_CHECK_INPUT(destination.has_filename(),
                      fmt::format("{}: expected the name of a file to write, found a folder's",
                                  destination.string()));
  std::error_code error;
  const fs::file_status status = fs::status(destination, error);
  // Renaming over a device would replace the device by a file.
  SPARITY_CHECK_INPUT(
      !fs::exists(status) || fs::is_regular_file(status),
      fmt::format("{}: expected a regular file to write, found {}", destination.string(),
                  fs::is_directory(status) ? "a folder" : "a special file"));
  if (!fs::is_symlink(fs::symlink_status(destination, error))) {
    return destination;
  }
  const fs::path target = fs::canonical(destination, error);
  SPARITY_CHECK_INPUT(
      !error, fmt::format("{}: cannot write: the link leads nowhere", destination.string()));
  return target;
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

[[noreturn]] void fail_write(const fs::path& path, int error_number) {
  throw_error(ExitCode::kCrashed,
              fmt::format("{}: cannot write: {}", path.string(), reason(error_number)), __FILE__,
              __LINE__);
}

}  // namespace

InputFile::InputFile(const fs::path& path) : path_(path) {
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  SPARITY_CHECK_INPUT(descriptor_ >= 0,
                      fmt::format("{}: cannot open: {}", path.string(), reason(errno)));
  struct stat status = {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    close_descriptor(descriptor_);
    SPARITY_FAIL_INPUT(
        fmt::format("{}: expected a regular file, found {}", path.string(),
                    known && S_ISDIR(status.st_mode) ? "a folder" : "a special file"));
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() { close_descriptor(descriptor_); }

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(std::exchange(other.size_, 0)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

void InputFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  SPARITY_CHECK(descriptor_ >= 0, fmt::format("{}: read after being moved from", path_.string()));
  while (!out.empty()) {
    const ssize_t count = ::pread(descriptor_, out.data(), std::min(out.size(), kMaxTransfer),
                                  static_cast<off_t>(offset));
    if (count < 0) {
      SPARITY_CHECK_INPUT(errno == EINTR, fmt::format("{}: cannot read at byte {}: {}",
                                                      path_.string(), offset, reason(errno)));
      continue;
    }
    SPARITY_CHECK_INPUT(count > 0, fmt::format("{}: expected {} more bytes at byte {}, found the "
                                               "end of the file",
                                               path_.string(), out.size(), offset));
    out = out.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

AtomicFile::AtomicFile(const fs::path& destination)
    : destination_(resolve_destination(destination)),
      temporary_(folder_of(destination_) /
                 fmt::format(".{}.tmp.{}", destination_.filename().string(), ::getpid())) {
  // What a dead process of the same number left behind.
  ::unlink(temporary_.c_str());
  descriptor_ =
      ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  SPARITY_CHECK_INPUT(descriptor_ >= 0,
                      fmt::format("{}: cannot create: {}", destination.string(), reason(errno)));
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) {
    close_descriptor(descriptor_);
    ::unlink(temporary_.c_str());
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  SPARITY_CHECK(descriptor_ >= 0, fmt::format("{}: write after commit", destination_.string()));
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kMaxTransfer));
    if (count < 0 && errno != EINTR) {
      fail_write(destination_, errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
  }
}

void AtomicFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}

void AtomicFile::commit() {
  SPARITY_CHECK(descriptor_ >= 0, fmt::format("{}: committed twice", destination_.string()));
  if (::fsync(descriptor_) != 0 || ::rename(temporary_.c_str(), destination_.c_str()) != 0) {
    fail_write(destination_, errno);
  }
  close_descriptor(descriptor_);
  flush_folder(folder_of(destination_));
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

std::string read_text_file(const fs::path& path, std::uint64_t max_bytes) {
  const InputFile file(path);
  SPARITY_CHECK_INPUT(file.size() <= max_bytes,
                      fmt::format("{}: expected at most {} bytes, found {}", path.string(),
                                  max_bytes, file.size()));
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  return text;
}

namespace {

/// A SHA-256 that takes its bytes piece by piece.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    check(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1);
  }
  ~Sha256() { EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void add(std::span<const std::byte> bytes) {
    check(EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1);
  }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
    unsigned int length = 0;
    check(EVP_DigestFinal_ex(context_, digest.data(), &length) == 1);
    std::string text;
    for (unsigned int i = 0; i < length; ++i) {
      text += fmt::format("{:02x}", digest[i]);
    }
    return text;
  }

 private:
  static void check(bool ok) { SPARITY_CHECK(ok, "SHA-256 is not available"); }

  EVP_MD_CTX* context_;
};

}  // namespace

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.hex();
}

std::string sha256_hex(std::string_view text) {
  return sha256_hex(std::as_bytes(std::span(text.data(), text.size())));
}

std::string sha256_of_file(const std::filesystem::path& path) {
  constexpr std::size_t kPiece = std::size_t{1} << 20;
  const InputFile file(path);
  Sha256 hash;
  std::vector<std::byte> piece(kPiece);
  for (std::uint64_t offset = 0; offset < file.size(); offset += kPiece) {
    const std::span<std::byte> part(piece.data(),
                                    std::min<std::uint64_t>(kPiece, file.size() - offset));
    file.read(offset, part);
    hash.add(part);
  }
  return hash.hex();
}

}  // namespace sparity::core
