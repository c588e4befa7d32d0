#include "suites/bench/machine_rates.h"

#include "src/tensors/at_dtype.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <chrono>
#include <limits>

namespace sparity::bench {

namespace {

template <typename Work>
double best_seconds(int tries, Work work) {
  using Clock = std::chrono::steady_clock;
  work();
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < tries; ++i) {
    const Clock::time_point start = Clock::now();
    work();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

}  // namespace

MachineRates machine_rates(core::Dtype dtype) {
  constexpr std::int64_t kSide = 1024;
  const at::Tensor a = at::ones({kSide, kSide}, tensors::to_scalar_type(dtype));
  at::Tensor product = at::mm(a, a);
  const double gemm = best_seconds(10, [&] { at::mm_out(product, a, a); });
  const at::Tensor source = at::ones({64 << 20}, at::kFloat);
  at::Tensor target = source.clone();
  const double copy = best_seconds(4, [&] { target.copy_(source); });
  return {.gemm_flops = 2.0 * kSide * kSide * kSide / gemm,
          .copy_bytes = 2.0 * static_cast<double>(source.nbytes()) / copy};
}

}  // namespace sparity::bench
