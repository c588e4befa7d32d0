#include "suites/judge/divergence.h"

#include "src/core/error.h"

#include <algorithm>
#include <cmath>

namespace sparity::judge {

std::vector<double> predicted_errors(std::span<const double> local_errors,
                                     std::span<const double> gains) {
  SPARITY_CHECK(local_errors.size() == gains.size(), "each layer has a local error and a gain");
  std::vector<double> predicted;
  double before = 0;
  for (std::size_t layer = 0; layer < local_errors.size(); ++layer) {
    // The recursion of the sum over layers; hypot neither overflows nor underflows.
    before = std::hypot(local_errors[layer], layer == 0 ? 0.0 : gains[layer] * before);
    predicted.push_back(before);
  }
  return predicted;
}

DivergenceClass classify(const TracePoint& point, core::Dtype dtype,
                         std::optional<std::int64_t> samples) {
  const bool local_ok = std::isfinite(point.local_headroom) && point.local_headroom <= 1;
  if (!local_ok) {
    return DivergenceClass::kBug;
  }
  const auto within = [&](double limit) {
    return std::isfinite(point.free_error) && std::isfinite(limit) && point.free_error <= limit;
  };
  const double w = widening(samples);
  const double plain = factors(Direction::kForward, dtype).global * w * point.baseline_error;
  if (plain >= kMostOfStream) {
    return DivergenceClass::kAccumulated;  // honest arithmetic ends up nowhere near either
  }
  const double floor = rounding_floor(kFewElements, true) * core::unit_roundoff(dtype);
  if (within(plain + floor)) {
    return DivergenceClass::kClean;
  }
  return within(kAccumulatedFactor * w * point.predicted_error) ? DivergenceClass::kAccumulated
                                                                : DivergenceClass::kUnexplained;
}

void classify_all(std::span<TracePoint> trace, core::Dtype dtype,
                  std::optional<std::int64_t> samples) {
  for (TracePoint& point : trace) {
    point.divergence = classify(point, dtype, samples);
  }
}

namespace {

/// The points that an error of `tensor` may come from: that of its layer and the one before, or the
/// last, after the layers.
std::span<const TracePoint> sources(std::span<const TracePoint> trace, const std::string& tensor) {
  for (std::size_t i = 0; i < trace.size(); ++i) {
    if (tensor == trace[i].tensor || tensor.starts_with(trace[i].tensor + ".")) {
      return i == 0 ? trace.first(1) : trace.subspan(i - 1, 2);
    }
  }
  return tensor == "norm" || tensor == "logits" ? trace.last(1) : trace.first(0);
}

}  // namespace

std::int64_t waive_accumulated(std::span<Comparison> free_run, std::span<const TracePoint> trace,
                               std::optional<std::int64_t> samples) {
  const auto wrong = [](const TracePoint& point) {
    return point.divergence == DivergenceClass::kBug ||
           point.divergence == DivergenceClass::kUnexplained;
  };
  if (trace.empty() || std::ranges::any_of(trace, wrong)) {
    return 0;
  }
  const double factor = kAccumulatedFactor * widening(samples);
  std::int64_t waived = 0;
  for (Comparison& comparison : free_run) {
    const auto explains = [&](const TracePoint& point) {
      return point.divergence == DivergenceClass::kAccumulated &&
             comparison.relative_l2 <= factor * point.predicted_error;
    };
    if (std::ranges::none_of(sources(trace, comparison.tensor), explains)) {
      continue;
    }
    for (Gate& gate : comparison.gates) {
      if (gate.name == "G1" && gate.blocking && !gate.ok) {
        gate.blocking = false;
        gate.note +=
            "; ACCUMULATED: every layer is right by itself, and the error is what they add up to";
        ++waived;
      }
    }
  }
  return waived;
}

std::string first_divergence(std::span<const TracePoint> trace) {
  const auto found = std::ranges::find(trace, DivergenceClass::kBug, &TracePoint::divergence);
  return found == trace.end() ? std::string() : found->tensor;
}

}  // namespace sparity::judge
