#include "src/core/error.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace sparity::core {

namespace {

constexpr std::array kSeverity = {
    ExitCode::kBadInput,
    ExitCode::kHarnessFault,
    ExitCode::kCrashed,
    ExitCode::kParityFailed,
    ExitCode::kPerformanceRegressed,
    ExitCode::kInconclusive,
    ExitCode::kAllSkipped,
    ExitCode::kPass,
};

std::ptrdiff_t rank(ExitCode code) {
  return std::ranges::find(kSeverity, code) - kSeverity.begin();
}

}  // namespace

ExitCode combine(ExitCode a, ExitCode b) { return rank(a) <= rank(b) ? a : b; }

Error::Error(ExitCode code, const std::string& message, const char* file, int line)
    : std::runtime_error(message),
      code_(code),
      where_(std::string(file) + ":" + std::to_string(line)) {}

void throw_error(ExitCode code, const std::string& message, const char* file, int line) {
  throw Error(code, message, file, line);
}

}  // namespace sparity::core
