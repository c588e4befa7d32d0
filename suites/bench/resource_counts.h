#pragma once

#include "suites/cases/bound_model.h"
#include "suites/cases/suite_context.h"

#include <cstdint>

namespace sparity::bench {

/// What one pass asks of the machine, whatever the machine's speed.
struct ResourceCounts {
  std::int64_t allocations = 0;  // of tensors
  std::int64_t bytes = 0;        // all of them together
  std::int64_t peak_bytes = 0;   // the most alive at once, above what was before the pass
  std::int64_t gemm_flops = 0;   // of LibTorch's matrix products; own kernels' are not seen
};

/// One forward pass, or with `backward` one forward and backward pass of the LM loss, after one to
/// warm up. Deterministic on one thread.
ResourceCounts count_resources(const cases::BoundModel& model, const tensors::Inputs& inputs,
                               bool backward);

}  // namespace sparity::bench
