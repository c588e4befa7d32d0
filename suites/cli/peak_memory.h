#pragma once

#include <cstdint>

namespace sparity::cli {

/// VmHWM. Not getrusage's figure, which a process inherits from the one that started it.
std::int64_t peak_resident_bytes();

}  // namespace sparity::cli
