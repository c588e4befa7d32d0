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

std::string first_divergence(std::span<const TracePoint> trace) {
  const auto found = std::ranges::find(trace, DivergenceClass::kBug, &TracePoint::divergence);
  return found == trace.end() ? std::string() : found->tensor;
}

}  // namespace sparity::judge
