#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sparity::reports {

/// One operation of one pass: seconds, and what it cannot do without: flops of matrix products, and
/// bytes of operands and results, each moved once.
struct OpTime {
  std::string op;
  double forward_seconds = 0;
  double backward_seconds = 0;
  double forward_flops = 0;
  double backward_flops = 0;
  double forward_bytes = 0;
  double backward_bytes = 0;

  double seconds() const { return forward_seconds + backward_seconds; }
};

double total_seconds(const std::vector<OpTime>& ops);

/// Bytes of tensors at the end of a phase, and the most during it.
struct MemoryPhase {
  std::string phase;
  std::int64_t live_bytes = 0;
  std::int64_t peak_bytes = 0;
};

/// What `sparity bench` found out about the candidate alone.
struct BenchRun {
  std::string tool_version;
  std::string git_commit;
  std::string cpu_model;
  std::string config;
  std::string config_hash;
  std::string dtype;
  std::string attention;
  std::int64_t threads = 0;
  std::int64_t batch = 0;
  std::int64_t tokens = 0;           // a row
  double gemm_flops_per_second = 0;  // of this machine, in that dtype, the same threads
  double copy_bytes_per_second = 0;
  std::vector<double> forward_seconds;           // of each pass
  std::vector<double> forward_backward_seconds;  // empty without --backward
  std::vector<OpTime> ops;                       // of the fastest profiled pass; empty without one
  std::vector<MemoryPhase> memory;               // empty without a profile
};

/// The roofline of one operation: the seconds it needs at this machine's rates, the longer of its
/// products and its moving, each way for itself; forward, and back if it was run.
struct Roofline {
  double seconds = 0;
  bool by_products = false;  // these, and not moving, are the longer part of it
};
Roofline roofline_of(const OpTime& op, const BenchRun& bench);

/// Fastest time and smallest peak of one program, over its turns.
struct Measured {
  double seconds = 0;
  std::int64_t bytes = 0;
};

/// One pass of both programs, and what ratio was aimed at. Ratios are theirs over ours.
struct ComparedPass {
  std::string pass;  // "forward", "forward_backward"
  std::int64_t tokens = 0;
  double gemm_flops_per_second = 0;  // the slower of the probes before and after
  Measured ours;
  std::optional<Measured> plain;  // nothing where theirs did not fit or was left out
  std::optional<Measured> tuned;
  std::optional<double> target_plain;
  std::optional<double> target_tuned;
  std::optional<double> target_memory;
};

/// What suites/bench/against_transformers.py found out.
struct AgainstTransformers {
  std::string cpu_model;
  std::string transformers;  // its version
  std::string config;
  std::int64_t threads = 0;
  std::vector<ComparedPass> passes;
};

/// One page's worth: either may be absent.
struct Performance {
  std::optional<BenchRun> bench;
  std::optional<AgainstTransformers> against_transformers;
};

}  // namespace sparity::reports
