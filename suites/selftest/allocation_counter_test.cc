#include "suites/cases/allocation_counter.h"

#include "src/core/error.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <vector>

namespace sparity::cases {
namespace {

TEST(AllocationCounter, CountsWhatIsMadeAndFreed) {
  const at::Tensor before = at::ones({100});
  AllocationCounter counter;
  at::Tensor kept = at::empty({10}, at::kDouble);
  { const at::Tensor passing = at::empty({30}, at::kFloat); }
  const AllocationCounts counts = counter.counts();
  EXPECT_EQ(counts.allocations, 2);
  EXPECT_EQ(counts.bytes, 80 + 120);
  EXPECT_EQ(counts.largest, 120);
  EXPECT_EQ(counts.live_bytes, 80);
  EXPECT_EQ(counts.peak_bytes, 200);
}

TEST(AllocationCounter, SeesATensorThatAnOperationHides) {
  const at::Tensor q = at::ones({2, 3, 40, 5});
  AllocationCounter counter;
  const at::Tensor output = q.matmul(q.transpose(2, 3)).softmax(-1).matmul(q);
  EXPECT_GE(counter.counts().largest, 2 * 3 * 40 * 40 * 4);
  EXPECT_EQ(counter.counts().live_bytes, 2 * 3 * 40 * 5 * 4);
}

TEST(AllocationCounter, FreeingOlderMemoryIsNotCounted) {
  at::Tensor before = at::ones({100});
  AllocationCounter counter;
  before.reset();
  EXPECT_EQ(counter.counts().live_bytes, 0);
  EXPECT_EQ(counter.counts().allocations, 0);
}

TEST(AllocationCounter, ATensorMayOutliveIt) {
  at::Tensor kept;
  {
    AllocationCounter counter;
    kept = at::ones({50});
  }
  AllocationCounter next;
  EXPECT_EQ(kept.sum().item<float>(), 50.0F);
  kept.reset();
  EXPECT_EQ(next.counts().live_bytes, 0);
}

TEST(AllocationCounter, ServesRawAllocationsAsMatrixLibrariesMakeThem) {
  void* outliving = nullptr;
  {
    AllocationCounter counter;
    void* raw = c10::GetCPUAllocator()->raw_allocate(64);
    outliving = c10::GetCPUAllocator()->raw_allocate(32);
    EXPECT_EQ(counter.counts().live_bytes, 96);
    c10::GetCPUAllocator()->raw_deallocate(raw);
    EXPECT_EQ(counter.counts().live_bytes, 32);
  }
  c10::GetCPUAllocator()->raw_deallocate(outliving);
}

TEST(AllocationCounter, RestartsWithWhatIsLive) {
  AllocationCounter counter;
  at::Tensor kept = at::empty({25}, at::kFloat);
  counter.restart();
  EXPECT_EQ(counter.counts().allocations, 0);
  EXPECT_EQ(counter.counts().largest, 0);
  EXPECT_EQ(counter.counts().peak_bytes, 100);
  kept.reset();
  EXPECT_EQ(counter.counts().live_bytes, 0);
  EXPECT_EQ(counter.counts().peak_bytes, 100);
}

TEST(AllocationCounter, SeesEveryThread) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  AllocationCounter counter;
  std::vector<at::Tensor> made(12);
  at::parallel_for(0, 12, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      made[static_cast<std::size_t>(i)] = at::empty({5}, at::kFloat);
    }
  });
  at::set_num_threads(before);
  EXPECT_EQ(counter.counts().allocations, 12);
  EXPECT_EQ(counter.counts().live_bytes, 12 * 20);
}

TEST(AllocationCounter, OnlyOneAtATime) {
  AllocationCounter counter;
  EXPECT_THROW(AllocationCounter(), core::Error);
  const at::Tensor made = at::empty({5}, at::kFloat);
  EXPECT_EQ(counter.counts().allocations, 1);
}

}  // namespace
}  // namespace sparity::cases
