#include "suites/cli/suite_program.h"

namespace sparity::cli {

std::filesystem::path suite_program() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / "sparity-suites";
}

}  // namespace sparity::cli
