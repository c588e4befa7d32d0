#pragma once

#include <cstdint>
#include <memory>

namespace sparity::cases {

/// What LibTorch's CPU allocator was asked for. Bytes are those asked for, without alignment.
struct AllocationCounts {
  std::int64_t allocations = 0;  // of at least one byte
  std::int64_t bytes = 0;        // all of them together
  std::int64_t largest = 0;      // bytes of the largest single one
  std::int64_t live_bytes = 0;   // allocated while the counter lives and not freed
  std::int64_t peak_bytes = 0;   // the most that live_bytes was
};

/// Counts the storage of every tensor that any thread makes on the CPU for as long as it lives. Not
/// seen: memory that is older than the counter, and what does not come from the allocator, such as
/// std::vector, the buffers of matrix libraries and the graph itself. One at a time. Deterministic
/// where the program is, but for peak_bytes when threads allocate at once.
class AllocationCounter {
 public:
  /// Throws (exit code 6) while another one lives.
  AllocationCounter();
  ~AllocationCounter();
  AllocationCounter(const AllocationCounter&) = delete;
  AllocationCounter& operator=(const AllocationCounter&) = delete;

  AllocationCounts counts() const;

  /// Counts from zero: what is live stays so, and is the peak.
  void restart();

 private:
  struct Ledger;
  friend class CountingAllocator;
  std::shared_ptr<Ledger> ledger_;  // shared with blocks, which may live longer
};

}  // namespace sparity::cases
