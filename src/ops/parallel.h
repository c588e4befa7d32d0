#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace sparity::ops {

/// For as long as it lives, matrix products on the calling thread are computed as if there were no
/// other. Without it their bits depend on the number of threads that there could be, from about 800
/// summands on.
class AloneOnThread {
 public:
  AloneOnThread();
  ~AloneOnThread();
  AloneOnThread(const AloneOnThread&) = delete;
  AloneOnThread& operator=(const AloneOnThread&) = delete;

 private:
  int openmp_threads_;
  int mkl_threads_ = 0;
};

/// Calls `body(workspace, i)` once for every 0 ≤ i < count. A thread that is free takes the next i,
/// so list what costs most first. Each thread makes one workspace by `make_workspace()` and keeps
/// it from item to item. ATen operations inside run on that thread alone and record no gradients.
/// What an item computes must depend on i alone, so that no bit depends on the number of threads.
template <typename MakeWorkspace, typename Body>
void for_each_item(std::int64_t count, MakeWorkspace make_workspace, Body body) {
  std::atomic<std::int64_t> next{0};
  const std::int64_t threads = std::min<std::int64_t>(count, at::get_num_threads());
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    const AloneOnThread alone;
    // Threads do not inherit these.
    const at::NoGradGuard no_gradients;
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto workspace = make_workspace();
    for (std::int64_t i = next++; i < count; i = next++) {
      body(workspace, i);
    }
  });
}

/// The same without a workspace: `body(i)`.
template <typename Body>
void for_each_item(std::int64_t count, Body body) {
  struct Nothing {};
  for_each_item(
      count, [] { return Nothing(); }, [&](Nothing, std::int64_t i) { body(i); });
}

}  // namespace sparity::ops
