#pragma once

#include "src/core/dtype.h"

namespace sparity::bench {

/// What this machine does at best, with as many threads as LibTorch has now.
struct MachineRates {
  double gemm_flops = 0;  // a second, of at::mm of two square matrices of the dtype
  double copy_bytes = 0;  // a second, read and written, of copying a tensor beyond the caches
};

/// The best of several tries, about half a second.
MachineRates machine_rates(core::Dtype dtype);

}  // namespace sparity::bench
