#pragma once

#include "src/core/dtype.h"
#include "suites/judge/record.h"
#include "suites/judge/tolerances.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace sparity::judge {

/// predicted_l = √(Σ_{i≤l} local_i² · Π_{i<j≤l} gain_j²): the relative error that local errors grow
/// to along a chain of layers. `gains[l]` is ρ(Δout_l)/ρ(Δin_l); the first is not read. Sizes must
/// be equal.
std::vector<double> predicted_errors(std::span<const double> local_errors,
                                     std::span<const double> gains);

/// What a tensor's error is put down to (verification specification, b.4). Errors are relative RMS.
///
/// - kBug: the local gate failed: local_headroom is not finite or above 1.
/// - kClean: free error ≤ 3·w·baseline error + u/4, the plain tolerance; w = `widening(samples)`.
/// - kAccumulated: above that, and at most 2·w·predicted; or the plain tolerance is half the signal
/// or more, so that a free run tells nothing.
/// - kUnexplained: above both, or not finite: look for state, aliasing, a tensor not traced.
DivergenceClass classify(const TracePoint& point, core::Dtype dtype,
                         std::optional<std::int64_t> samples = std::nullopt);

/// Sets `divergence` of every point.
void classify_all(std::span<TracePoint> trace, core::Dtype dtype,
                  std::optional<std::int64_t> samples = std::nullopt);

/// Waives G1 of comparisons of a free run, which then reports and no longer blocks, where the error
/// is put down to accumulation: no point of `trace` is kBug or kUnexplained; the tensor is a
/// kAccumulated point's, lies within its layer or the next, or after the last; and its relative
/// error is at most 2·w·that point's predicted one. The gate's note says so. Other gates stay.
/// Returns how many were waived.
std::int64_t waive_accumulated(std::span<Comparison> free_run, std::span<const TracePoint> trace,
                               std::optional<std::int64_t> samples = std::nullopt);

/// The earliest tensor in execution order that failed locally (kBug); empty when none did. Forward,
/// loss, backward and optimizer are traces of their own.
std::string first_divergence(std::span<const TracePoint> trace);

}  // namespace sparity::judge
