#pragma once

#include "src/core/model_config.h"
#include "src/tensors/inputs.h"
#include "src/tensors/recorder.h"

#include <map>
#include <string>
#include <vector>

namespace sparity::cli {

/// The file whose intermediates replace those of a run, and which of them do.
struct ForcedFile {
  std::string path;  // empty: none
  std::string names = "*";
};

/// Names of values, other than choices, that the metadata of a run list before they are counted.
inline constexpr std::size_t kListedForces = 8;

/// Has `recorder` replace every intermediate that the file holds under a name that the glob
/// matches. Throws (exit code 5) for a name without "trace.", for nothing that matches, for a
/// choice of keys or experts that is out of range, and for a token's that names one twice:
/// implementations differ in what they make of that. −1 stands for no key and may repeat. Returns
/// the names that it took, as the file has them.
std::vector<std::string> force_from_file(const ForcedFile& forced, const core::ModelConfig& config,
                                         const tensors::Inputs& inputs,
                                         tensors::Recorder& recorder);

/// What a dump's metadata say of the values that were put in the place of its own, `names` of
/// `forced`: `forced_choices`, how many choices of keys and experts; `forced_values`, the names of
/// all else, at most kListedForces and the number of the rest; and where there is any,
/// `forced_sha256`, of the file.
std::map<std::string, std::string> forced_metadata(const ForcedFile& forced,
                                                   const std::vector<std::string>& names);

/// Throws (exit code 5) for a forced name that the run never met.
void check_all_used(const ForcedFile& forced, const tensors::Recorder& recorder);

}  // namespace sparity::cli
