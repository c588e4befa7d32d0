#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>

#include <cstdint>

namespace sparity::ops {

/// Calls `body(i)` for 0 ≤ i < count, spread over threads in contiguous shares. ATen operations
/// inside run on that thread alone and record no gradients. What one item computes must not depend
/// on the others, so that no bit depends on the number of threads.
template <typename Body>
void for_each_item(std::int64_t count, Body body) {
  at::parallel_for(0, count, 1, [&](std::int64_t begin, std::int64_t end) {
    // Threads do not inherit these.
    const at::NoGradGuard no_gradients;
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    for (std::int64_t i = begin; i < end; ++i) {
      body(i);
    }
  });
}

}  // namespace sparity::ops
