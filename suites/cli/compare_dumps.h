#pragma once

#include "src/core/dtype.h"
#include "suites/judge/record.h"

#include <optional>
#include <string>

namespace sparity::cli {

struct CompareOptions {
  std::string candidate;
  std::string truth;
  std::string baseline;  // empty: the weaker rule without one
  std::string inputs;    // the inputs file, for its padding; empty: no token is padding
  std::string model;     // the checkpoint, for the routers' biases; empty: routing is not judged
  std::optional<core::Dtype> dtype;  // the candidate's activation dtype, where its metadata
                                     // don't say
  bool trust_baseline = false;       // truth and baseline whose origin is not recorded are taken
  bool partial = false;              // names that only the truth has are listed, not failed
  std::string out;                   // folder for a report; empty: console only
  bool json = false;
};

/// Judges a dump by the gates: names both ways, every tensor, every discrete choice (ties at rank k
/// in any order). Where the candidate chose other keys or experts than the truth ran with, what
/// comes after can't be judged: the record says so and is inconclusive unless something before
/// failed. So is a pass with a choice that the truth followed and that could not be judged.
judge::CaseRecord compare_dumps(const CompareOptions& options);

}  // namespace sparity::cli
