#pragma once

#include <filesystem>

namespace sparity::cli {

/// The suite program: `sparity-suites` beside the running executable.
std::filesystem::path suite_program();

}  // namespace sparity::cli
