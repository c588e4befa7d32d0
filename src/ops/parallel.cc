#include "src/ops/parallel.h"

#include <omp.h>

// MKL's own limit for the calling thread, where LibTorch's matrix products are MKL's. 0 lifts it.
extern "C" int MKL_Set_Num_Threads_Local(int threads) __attribute__((weak));

namespace sparity::ops {

// oneDNN asks OpenMP, and MKL its own setting, how many threads there could be, and both cut long
// sums into that many parts, even where they then run on one thread.
AloneOnThread::AloneOnThread() : openmp_threads_(omp_get_max_threads()) {
  omp_set_num_threads(1);
  if (MKL_Set_Num_Threads_Local != nullptr) {
    mkl_threads_ = MKL_Set_Num_Threads_Local(1);
  }
}

AloneOnThread::~AloneOnThread() {
  if (MKL_Set_Num_Threads_Local != nullptr) {
    MKL_Set_Num_Threads_Local(mkl_threads_);
  }
  omp_set_num_threads(openmp_threads_);
}

}  // namespace sparity::ops
