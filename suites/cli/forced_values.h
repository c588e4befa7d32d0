#pragma once

#include "src/core/model_config.h"
#include "src/tensors/inputs.h"
#include "src/tensors/recorder.h"

#include <string>

namespace sparity::cli {

/// The file whose intermediates replace those of a run, and which of them do.
struct ForcedFile {
  std::string path;  // empty: none
  std::string names = "*";
};

/// Has `recorder` replace every intermediate that the file holds under a name that the glob
/// matches. Throws (exit code 5) for a name without "trace.", for nothing that matches, for a
/// choice of keys or experts that is out of range, and for a token's that names one twice:
/// implementations differ in what they make of that. −1 stands for no key and may repeat.
void force_from_file(const ForcedFile& forced, const core::ModelConfig& config,
                     const tensors::Inputs& inputs, tensors::Recorder& recorder);

/// Throws (exit code 5) for a forced name that the run never met.
void check_all_used(const ForcedFile& forced, const tensors::Recorder& recorder);

}  // namespace sparity::cli
