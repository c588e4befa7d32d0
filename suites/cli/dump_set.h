#pragma once

#include "src/core/dtype.h"
#include "src/core/model_config.h"
#include "src/tensors/inputs.h"
#include "suites/cli/compare_dumps.h"
#include "suites/cli/dump.h"
#include "suites/judge/record.h"

#include <optional>
#include <vector>

namespace sparity::cli {

/// The files of one comparison, known to belong together.
struct DumpSet {
  Dump candidate;
  Dump truth;
  std::optional<Dump> baseline;
  std::optional<core::ModelConfig> config;  // of --model
  std::optional<tensors::Inputs> inputs;    // of --inputs
  core::Dtype dtype = core::Dtype::kF32;    // the candidate's activation dtype
  bool baseline_known = true;               // the reference made it, or there is none
  /// What the files' metadata confirm, and what they leave open.
  std::vector<judge::Condition> conditions;
};

/// Reads every file and throws (exit code 5, with file, field, expected and found) where two of
/// them contradict each other or one is not what its flag says:
///
/// - one file in two roles;
/// - `dtype`: the truth's is float64, the baseline's and --dtype are the candidate's. A candidate
///   that does not record it is taken at --dtype's word, else by its tensors' type: F64 and BF16
///   decide, F32 leaves it open and is refused;
/// - `impl` and what was forced: as `check_origin`;
/// - `config_hash`, `inputs_hash`, `attention`: equal wherever they are recorded, --model and
///   --inputs included; `recipe`: of candidate and baseline, in bfloat16, where it matters;
/// - tensors: choices are integers, all else floating: F64 of float64 runs, else F32 or 16 bits;
/// - --inputs has the truth's rows and tokens.
DumpSet read_dumps(const CompareOptions& options);

}  // namespace sparity::cli
