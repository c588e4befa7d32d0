#include "suites/selftest/program.h"

#include "suites/selftest/scratch_folder.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sys/wait.h>

namespace sparity::selftest {

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string quoted(const std::filesystem::path& path) { return "'" + path.string() + "'"; }

std::string sparity_line(const std::string& arguments) {
  return "'" SPARITY_PROGRAM "' " + arguments;
}

Finished run_sparity(const std::string& arguments) {
  const ScratchFolder folder;
  const std::string line = sparity_line(arguments) + " >'" + (folder.path() / "out").string() +
                           "' 2>'" + (folder.path() / "err").string() + "' </dev/null";
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, content_of(folder.path() / "out"),
          content_of(folder.path() / "err")};
}

}  // namespace sparity::selftest
