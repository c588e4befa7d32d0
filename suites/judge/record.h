#pragma once

#include "src/core/dtype.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::judge {

/// How a case, a suite or a run ended.
enum class Verdict {
  kPass,
  kFail,          // a blocking gate or check failed
  kInconclusive,  // nothing failed, and what would have decided it could not be had
  kSkip,          // not run; the reason is recorded
  kCrash,         // the process that ran it died
  kTimeout,
  kOutOfMemory,
  kBadInput,
  kHarnessFault,  // the harness's own check failed, or nothing was compared
};

std::string_view to_string(Verdict verdict);
std::optional<Verdict> verdict_from_string(std::string_view name);

/// One decision: `ok` is `isfinite(lhs) && isfinite(rhs) && lhs <= rhs`, made once, in gates.cc.
struct Gate {
  std::string name;  // "G0" … "G4", "S1" … "S7", "exact", "bound"
  double lhs = 0;
  double rhs = 0;
  bool ok = false;
  bool blocking = true;
  std::string note;  // what the two sides are, or why it failed, in plain words

  /// lhs / rhs; 0 when lhs is 0. Above 1 means failed.
  double headroom() const;
};

/// One of the elements that violate a gate most.
struct WorstElement {
  std::vector<std::int64_t> index;
  double candidate = 0;
  double baseline = 0;
  double truth = 0;
  double ulps = 0;   // |candidate − truth| in units of the dtype's spacing at the truth
  double share = 0;  // its error over what the gate allows
};

/// Errors of the elements whose |truth| lies in [from, to).
struct MagnitudeBucket {
  double from = 0;
  double to = 0;
  std::int64_t count = 0;
  double rms_candidate = 0;
  double rms_baseline = 0;
  double max_candidate = 0;
};

/// The candidate's error over the tensor seen as a matrix (rows × last dimension), binned to at
/// most 64 × 64 cells by their maximum, relative to the allowed error of an element.
struct ErrorMap {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<double> cells;  // row-major
};

/// One tensor judged: candidate and baseline against truth.
struct Comparison {
  std::string tensor;  // trace name or output name
  core::Dtype dtype = core::Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::vector<Gate> gates;
  double rms_truth = 0;
  double rms_candidate_error = 0;
  double rms_baseline_error = 0;
  double relative_l2 = 0;  // rms_candidate_error / rms_truth
  double cosine = 1;
  double calc_diff = 0;
  /// Why its gates decide nothing, though they were applied: then only structure and lost lines
  /// block. Empty when they decide.
  std::string undecided;
  std::vector<WorstElement> worst;       // at most 5; of failing comparisons
  std::vector<MagnitudeBucket> buckets;  // of failing comparisons
  std::optional<ErrorMap> error_map;     // of failing comparisons

  bool passed() const;               // every blocking gate ok, and at least one gate
  const Gate* first_failed() const;  // the first blocking gate that is not ok, or null
  double worst_headroom() const;     // over blocking gates
};

/// A discrete choice judged (top-k keys, groups, experts).
struct SelectionSummary {
  std::string tensor;
  std::int64_t rows = 0;
  std::int64_t selected = 0;      // valid choices compared
  std::int64_t flipped_rows = 0;  // rows whose set differs from the truth's
  std::int64_t flips = 0;
  std::int64_t baseline_flips = 0;
  std::int64_t tied_rows = 0;  // rows whose truth ties exactly at the boundary
  double worst_margin = 0;     // largest score margin of a flip, in units of the row's ε
  double allowed_margin = 0;   // what a flip may have, in the same units
};

/// What a tensor's error is put down to (docs/numerics.md).
enum class DivergenceClass { kClean, kBug, kAccumulated, kUnexplained };
std::string_view to_string(DivergenceClass value);

/// One traced tensor in execution order.
struct TracePoint {
  std::string tensor;
  double local_headroom = 0;   // worst blocking gate with teacher-forced inputs
  double free_error = 0;       // relative RMS error of the free run
  double baseline_error = 0;   // the baseline's, free run
  double predicted_error = 0;  // accumulated from local errors and measured gains
  DivergenceClass divergence = DivergenceClass::kClean;
};

/// How many parameters of a group have no gradient, one of exact zeros, and one other than zero.
struct PathTally {
  std::int64_t none = 0;
  std::int64_t zero = 0;
  std::int64_t non_zero = 0;

  std::int64_t total() const { return none + zero + non_zero; }
};

/// One cell of the gradient-path grid: what a term of the loss does to parameters of one kind.
struct GradientPath {
  std::string loss;   // "LM loss"
  std::string group;  // "routed experts"
  PathTally expected;
  PathTally found;
  std::int64_t agreeing = 0;  // parameters whose own gradient is what was expected of it

  bool holds() const;  // every parameter agrees, and there is at least one
};

/// One loss over the steps of a training run, as each side went its own way from the same weights.
struct LossCurve {
  std::string title;                // "KL loss, stage joint"
  std::vector<std::int64_t> steps;  // rising
  std::vector<double> truth;        // one value for each step, and so the other two
  std::vector<double> baseline;
  std::vector<double> candidate;
};

/// The value that the KL loss takes under one choice of its options (core/objective.h).
struct KlReading {
  std::string reduction;  // "mean_rows_layers"
  std::string target;     // "renormalised"
  std::string support;    // "valid"
  double truth = 0;
  double baseline = 0;
  double candidate = 0;
  std::string tensor;  // of the comparison in the same record that judges it
};

/// Something that a run claims to exercise, and whether it did.
struct Condition {
  std::string name;  // "index_topk < sequence length"
  bool exercised = false;
  bool required = true;  // required and not exercised is a harness fault; else it is only reported
  std::string detail;    // the figures
};

/// One case of a suite, as journalled: one line of results.jsonl.
struct CaseRecord {
  std::string suite;
  std::string name;
  std::string config;  // "tiny", or the checkpoint's folder name
  std::string config_hash;
  std::string dtype;   // "float32", …
  std::string recipe;  // "official", "hf"
  std::string device = "cpu";
  std::uint64_t seed = 0;
  double seconds = 0;
  Verdict verdict = Verdict::kHarnessFault;
  std::string message;           // one sentence: why not pass; empty on pass
  std::string first_divergence;  // the earliest tensor that failed locally; empty when none did
  std::string rerun;             // command line that runs just this
  std::vector<Comparison> comparisons;
  std::vector<SelectionSummary> selections;
  std::vector<TracePoint> trace;
  std::vector<GradientPath> paths;
  std::vector<LossCurve> curves;
  std::vector<KlReading> kl_readings;
  std::vector<Condition> conditions;
};

}  // namespace sparity::judge
