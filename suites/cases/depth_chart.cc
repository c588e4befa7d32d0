#include "suites/cases/depth_chart.h"

#include "suites/judge/divergence.h"
#include "suites/judge/error_stats.h"

namespace sparity::cases {

namespace {

double rms(const at::Tensor& x) {
  return x.to(at::kDouble).square().mean().sqrt().item().toDouble();
}

}  // namespace

double relative_error(const SuiteContext& context, const at::Tensor& x, const at::Tensor& truth) {
  const at::Tensor token = context.inputs().token_mask.unsqueeze(-1);
  const at::Tensor wide = truth.to(at::kDouble).mul(token);
  return judge::relative(rms(x.to(at::kDouble).mul(token).sub(wide)), rms(wide));
}

std::vector<judge::TracePoint> depth_chart(const SuiteContext& context,
                                           const std::vector<DepthStep>& steps) {
  std::vector<double> local_errors;
  std::vector<double> gains;
  for (const DepthStep& step : steps) {
    local_errors.push_back(step.local_error);
    gains.push_back(step.gain);
  }
  const std::vector<double> predicted = judge::predicted_errors(local_errors, gains);
  std::vector<judge::TracePoint> points;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    points.push_back({.tensor = steps[i].tensor,
                      .local_headroom = steps[i].headroom,
                      .free_error = steps[i].free_error,
                      .baseline_error = steps[i].baseline_error,
                      .predicted_error = predicted[i]});
  }
  judge::classify_all(points, context.options().dtype, context.distinct_tokens());
  return points;
}

}  // namespace sparity::cases
