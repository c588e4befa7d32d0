#include "suites/cases/allocation_counter.h"

#include "src/core/error.h"

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace sparity::cases {

struct AllocationCounter::Ledger {
  std::mutex mutex;
  AllocationCounts counts;

  void add(std::int64_t bytes) {
    const std::scoped_lock lock(mutex);
    ++counts.allocations;
    counts.bytes += bytes;
    counts.largest = std::max(counts.largest, bytes);
    counts.live_bytes += bytes;
    counts.peak_bytes = std::max(counts.peak_bytes, counts.live_bytes);
  }

  void remove(std::int64_t bytes) {
    const std::scoped_lock lock(mutex);
    counts.live_bytes -= bytes;
  }
};

/// Hands out another allocator's blocks and keeps a note of each. Context and address are the same,
/// as LibTorch's raw allocations ask of an allocator. Lives forever: tensors keep a pointer to
/// their allocator.
class CountingAllocator final : public c10::Allocator {
 public:
  static CountingAllocator& instance() {
    static auto* allocator = new CountingAllocator();
    return *allocator;
  }

  void start(std::shared_ptr<AllocationCounter::Ledger> ledger) {
    SPARITY_CHECK(ledger_ == nullptr, "two allocation counters at a time");
    ledger_ = std::move(ledger);
    inner_ = c10::GetCPUAllocator();
    c10::SetCPUAllocator(this);
  }

  void stop() {
    c10::SetCPUAllocator(inner_);
    ledger_.reset();
  }

  c10::DataPtr allocate(std::size_t n) override {
    c10::DataPtr data = inner_->allocate(n);
    if (n == 0 || ledger_ == nullptr) {
      return data;
    }
    void* address = data.get();
    const c10::Device device = data.device();
    const auto bytes = static_cast<std::int64_t>(n);
    ledger_->add(bytes);
    note(address, {std::move(data), ledger_, bytes});
    return {address, address, &release, device};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void* target, const void* source, std::size_t count) const override {
    default_copy_data(target, source, count);
  }

 private:
  struct Block {
    c10::DataPtr data;
    std::shared_ptr<AllocationCounter::Ledger> ledger;
    std::int64_t bytes;
  };

  void note(void* address, Block block) {
    const std::scoped_lock lock(mutex_);
    const auto [place, added] = blocks_.try_emplace(address);
    if (!added) {
      // A raw block that was given back to the other allocator, after the counter's end.
      place->second.data.release_context();
    }
    place->second = std::move(block);
  }

  static void release(void* address) {
    CountingAllocator& self = instance();
    std::unique_lock lock(self.mutex_);
    auto node = self.blocks_.extract(address);
    lock.unlock();
    if (node.empty()) {
      self.inner_->raw_deleter()(address);
      return;
    }
    node.mapped().ledger->remove(node.mapped().bytes);
  }

  c10::Allocator* inner_ = nullptr;
  std::shared_ptr<AllocationCounter::Ledger> ledger_;
  std::mutex mutex_;
  std::unordered_map<void*, Block> blocks_;
};

AllocationCounter::AllocationCounter() : ledger_(std::make_shared<Ledger>()) {
  CountingAllocator::instance().start(ledger_);
}

AllocationCounter::~AllocationCounter() { CountingAllocator::instance().stop(); }

AllocationCounts AllocationCounter::counts() const {
  const std::scoped_lock lock(ledger_->mutex);
  return ledger_->counts;
}

void AllocationCounter::restart() {
  const std::scoped_lock lock(ledger_->mutex);
  const std::int64_t live = ledger_->counts.live_bytes;
  ledger_->counts = {.live_bytes = live, .peak_bytes = live};
}

}  // namespace sparity::cases
