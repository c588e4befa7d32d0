#pragma once

#include "src/core/error.h"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

/// What libFuzzer, and replay_main.cc in its place, call for each input. Always returns 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size);

namespace sparity::fuzz {

/// The source that inputs are read under: every refusal must start with it.
inline const std::string kSource = "fuzzed";

/// Ends the process, so that the fuzzer keeps the input, unless `holds`.
inline void demand(bool holds, const char* claim) {
  if (!holds) {
    std::fprintf(stderr, "does not hold: %s\n", claim);
    std::abort();
  }
}

/// Runs `use`, which may refuse its input in the one way that is allowed: as bad input, with a
/// short message that starts with the source. Any other exception ends the process.
template <typename Use>
void refuse_or_read(const Use& use) {
  try {
    use();
  } catch (const core::Error& error) {
    const std::string message = error.what();
    demand(error.code() == core::ExitCode::kBadInput, message.c_str());
    demand(message.starts_with(kSource) && message.size() < 4000, message.c_str());
  }
}

}  // namespace sparity::fuzz
