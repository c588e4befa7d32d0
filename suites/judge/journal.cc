#include "suites/judge/journal.h"

#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/strict_json.h"
#include "suites/judge/record_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace sparity::judge {

namespace {

constexpr core::JsonLimits kLineLimits{.max_bytes = 100'000'000, .max_depth = 8};

std::string system_message() { return std::generic_category().message(errno); }

/// Held while a line is written: other processes append to the same file.
class FileLock {
 public:
  FileLock(int descriptor, const std::string& path) : descriptor_(descriptor) {
    int result = 0;
    do {
      result = ::flock(descriptor, LOCK_EX);
    } while (result != 0 && errno == EINTR);
    if (result != 0) {
      core::throw_error(core::ExitCode::kCrashed,
                        fmt::format("{}: cannot be locked: {}", path, system_message()), __FILE__,
                        __LINE__);
    }
  }
  ~FileLock() { ::flock(descriptor_, LOCK_UN); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  int descriptor_;
};

off_t file_size(int descriptor) {
  struct stat status {};
  return ::fstat(descriptor, &status) == 0 ? status.st_size : -1;
}

bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return false;
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

/// Whether `line` is JSON at all.
bool is_json(std::string_view line, const std::string& source, nlohmann::json& document) {
  try {
    document = core::parse_json(line, source, kLineLimits);
    return true;
  } catch (const core::Error&) {
    return false;
  }
}

}  // namespace

JournalWriter::JournalWriter(const std::filesystem::path& path)
    : path_(path),
      descriptor_(::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644)) {
  SPARITY_CHECK_INPUT(descriptor_ >= 0, fmt::format("{}: the journal cannot be opened: {}",
                                                    path.string(), system_message()));
}

JournalWriter::~JournalWriter() { ::close(descriptor_); }

void JournalWriter::cut_torn_tail() {
  off_t end = file_size(descriptor_);
  char last = '\n';
  while (end > 0 && ::pread(descriptor_, &last, 1, end - 1) == 1 && last != '\n') {
    --end;
  }
  if (end >= 0 && end != file_size(descriptor_) && ::ftruncate(descriptor_, end) != 0) {
    core::throw_error(
        core::ExitCode::kCrashed,
        fmt::format("{}: a torn last line cannot be cut off: {}", path_.string(), system_message()),
        __FILE__, __LINE__);
  }
}

void JournalWriter::append(const CaseRecord& record) {
  // Names may come from files and be no UTF-8; the journal always is.
  const std::string line =
      to_json(record).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  const FileLock lock(descriptor_, path_.string());
  cut_torn_tail();
  const off_t before = file_size(descriptor_);
  if (!write_all(descriptor_, line) || ::fdatasync(descriptor_) != 0) {
    const std::string reason = system_message();
    // Where even this is refused, the torn line is left for the next reader to skip.
    [[maybe_unused]] const int restored = ::ftruncate(descriptor_, before);
    core::throw_error(core::ExitCode::kCrashed,
                      fmt::format("{}: a record cannot be written: {}", path_.string(), reason),
                      __FILE__, __LINE__);
  }
}

namespace {

/// No run journals a case twice: two records would be counted for two cases.
class SeenCases {
 public:
  void add(const CaseRecord& record, const std::string& source) {
    const bool first =
        seen_.insert({record.suite, record.name, record.dtype, record.device}).second;
    SPARITY_CHECK_INPUT(
        first, fmt::format("{}: expected every case once, found '{}' of {} in {} again", source,
                           record.name, record.suite, record.dtype));
  }

 private:
  std::set<std::array<std::string, 4>> seen_;
};

}  // namespace

JournalContent read_journal(const std::filesystem::path& path) {
  const std::string text = core::read_text_file(path, std::numeric_limits<std::uint32_t>::max());
  JournalContent content;
  SeenCases seen;
  std::string_view rest = text;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    const std::string source = fmt::format("{}:{}", path.string(), number);
    nlohmann::json document;
    if (end == std::string_view::npos || (rest.empty() && !is_json(line, source, document))) {
      content.torn = true;
      break;
    }
    document = core::parse_json(line, source, kLineLimits);
    content.records.push_back(case_record_from_json(document, source));
    seen.add(content.records.back(), source);
  }
  return content;
}

}  // namespace sparity::judge
