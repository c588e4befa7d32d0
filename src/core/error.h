#pragma once

#include <stdexcept>
#include <string>

namespace sparity::core {

/// What a process says when it ends. The numbers are part of the command line's contract.
/// When several apply, `combine` picks by the order 5, 6, 4, 1, 2, 3, 77, 0.
enum class ExitCode : int {
  kPass = 0,
  kParityFailed = 1,
  kPerformanceRegressed = 2,
  kInconclusive = 3,
  kCrashed = 4,
  kBadInput = 5,
  kHarnessFault = 6,
  kAllSkipped = 77,
};

/// The one that a caller must be told when both happened.
ExitCode combine(ExitCode a, ExitCode b);

/// The only exception type thrown by this project's own code. `what()` is the message for the user;
/// `where()` is "file:line" of the check, for a developer.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message, const char* file, int line);

  ExitCode code() const noexcept { return code_; }
  const std::string& where() const noexcept { return where_; }

 private:
  ExitCode code_;
  std::string where_;
};

[[noreturn]] void throw_error(ExitCode code, const std::string& message, const char* file,
                              int line);

}  // namespace sparity::core

/// The user's file, flag or value is wrong: exit code 5. The message names the file, the field,
/// what was expected and what was found.
#define SPARITY_FAIL_INPUT(message) \
  ::sparity::core::throw_error(::sparity::core::ExitCode::kBadInput, (message), __FILE__, __LINE__)

/// As SPARITY_FAIL_INPUT unless `condition` holds; the message is only evaluated on failure.
#define SPARITY_CHECK_INPUT(condition, message) \
  do {                                          \
    if (!(condition)) {                         \
      SPARITY_FAIL_INPUT(message);              \
    }                                           \
  } while (false)

/// An invariant of this program is broken: exit code 6.
#define SPARITY_CHECK(condition, message)                                                         \
  do {                                                                                            \
    if (!(condition)) {                                                                           \
      ::sparity::core::throw_error(::sparity::core::ExitCode::kHarnessFault, (message), __FILE__, \
                                   __LINE__);                                                     \
    }                                                                                             \
  } while (false)
