#include "suites/cli/peak_memory.h"

#include <fstream>
#include <string>

namespace sparity::cli {

std::int64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  std::string field;
  std::int64_t kibibytes = 0;
  while (status >> field) {
    if (field == "VmHWM:") {
      status >> kibibytes;
    }
  }
  return kibibytes * 1024;
}

}  // namespace sparity::cli
