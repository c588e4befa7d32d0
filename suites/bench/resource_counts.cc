#include "suites/bench/resource_counts.h"

#include "suites/cases/allocation_counter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include <atomic>
#include <map>
#include <memory>
#include <string_view>

namespace sparity::bench {

namespace {

/// Where the left factor of a product stands among the arguments; its right one is the next.
const std::map<std::string_view, std::size_t>& products() {
  static const std::map<std::string_view, std::size_t> kProducts = {
      {"aten::mm", 0},     {"aten::bmm", 0},     {"aten::addmm", 1},
      {"aten::addmm_", 1}, {"aten::baddbmm", 1}, {"aten::baddbmm_", 1}};
  return kProducts;
}

/// 2 · the number of multiply-adds of [m, k] × [k, n], or of a batch of them.
std::int64_t flops_of(const at::RecordFunction& call, std::size_t left) {
  const at::Tensor& a = call.inputs()[left].toTensor();
  return 2 * a.numel() * call.inputs()[left + 1].toTensor().size(-1);
}

/// Counts the flops of matrix products on every thread for as long as it lives. One at a time.
class GemmCounter {
 public:
  GemmCounter()
      : callback_(at::addGlobalCallback(at::RecordFunctionCallback(&begin, &end)
                                            .needsInputs(true)
                                            .scopes({at::RecordScope::FUNCTION}))) {
    flops() = 0;
  }
  ~GemmCounter() { at::removeCallback(callback_); }
  GemmCounter(const GemmCounter&) = delete;
  GemmCounter& operator=(const GemmCounter&) = delete;

  static std::atomic<std::int64_t>& flops() {
    static std::atomic<std::int64_t> sum = 0;
    return sum;
  }

 private:
  struct Product : at::ObserverContext {};

  /// A product may be made of others, which are not counted again.
  static int& depth() {
    thread_local int depth = 0;
    return depth;
  }

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& call) {
    const auto product = products().find(call.name());
    if (product == products().end()) {
      return nullptr;
    }
    if (depth()++ == 0) {
      flops() += flops_of(call, product->second);
    }
    return std::make_unique<Product>();
  }

  static void end(const at::RecordFunction&, at::ObserverContext* context) {
    depth() -= context != nullptr ? 1 : 0;
  }

  at::CallbackHandle callback_;
};

void run(const cases::BoundModel& model, const tensors::Inputs& inputs, bool backward) {
  if (backward) {
    model.backward(inputs, core::AttentionMode::kSparse);
  } else {
    model.forward(inputs, core::AttentionMode::kSparse);
  }
}

}  // namespace

ResourceCounts count_resources(const cases::BoundModel& model, const tensors::Inputs& inputs,
                               bool backward) {
  const at::NoGradGuard no_gradients;
  run(model, inputs, backward);
  const cases::AllocationCounter memory;
  const GemmCounter products;
  run(model, inputs, backward);
  const cases::AllocationCounts counts = memory.counts();
  return {counts.allocations, counts.bytes, counts.peak_bytes, GemmCounter::flops()};
}

}  // namespace sparity::bench
