#pragma once

namespace sparity::bench {

/// What this machine does at best, with as many threads as LibTorch has now.
struct MachineRates {
  double gemm_flops = 0;  // a second, of at::mm of two square float32 matrices
  double copy_bytes = 0;  // a second, read and written, of copying a tensor beyond the caches
};

/// The best of several tries, about half a second.
MachineRates machine_rates();

}  // namespace sparity::bench
