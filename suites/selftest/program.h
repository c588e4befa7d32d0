#pragma once

#include <filesystem>
#include <string>

namespace sparity::selftest {

/// A checkpoint with inputs: two rows, the second padded on the right.
inline const std::filesystem::path kGolden =
    std::filesystem::path(SPARITY_SOURCE_DIR) / "fixtures/goldens/right-padding";

/// What a finished program left.
struct Finished {
  int exit_code = -1;  // −1 when a signal ended it
  std::string out;
  std::string err;
};

/// Runs the `sparity` program with a shell's words after its name.
Finished run_sparity(const std::string& arguments);

/// A file's bytes; a test that asks for what is not there fails.
std::string content_of(const std::filesystem::path& path);

/// A path as a word of the shell.
std::string quoted(const std::filesystem::path& path);

/// The shell line that runs it.
std::string sparity_line(const std::string& arguments);

}  // namespace sparity::selftest
