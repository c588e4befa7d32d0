#pragma once

#include <string>

namespace sparity::selftest {

/// What a finished program left.
struct Finished {
  int exit_code = -1;  // −1 when a signal ended it
  std::string out;
  std::string err;
};

/// Runs the `sparity` program with a shell's words after its name.
Finished run_sparity(const std::string& arguments);

/// The shell line that runs it.
std::string sparity_line(const std::string& arguments);

}  // namespace sparity::selftest
