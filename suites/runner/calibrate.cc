#include "suites/runner/calibrate.h"

#include "suites/judge/tolerances.h"

#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <fnmatch.h>
#include <utility>

namespace sparity::runner {

namespace {

nlohmann::json to_json(const judge::Calibration& calibration) {
  nlohmann::json entries = nlohmann::json::array();
  for (const judge::Calibration::Entry& entry : calibration.entries) {
    entries.push_back({{"gate", entry.gate},
                       {"dtype", core::to_string(entry.dtype)},
                       {"largest_headroom", entry.largest_headroom},
                       {"tensor", entry.tensor},
                       {"comparisons", entry.comparisons}});
  }
  return entries;
}

/// One unpadded row of seeded tokens, which are its labels: shorter rows begin longer ones. A row
/// of one token has nothing to predict, hence no labels.
tensors::Inputs one_row(const cases::SuiteContext& context, std::int64_t length, bool one_token) {
  tensors::Inputs inputs = tensors::seeded_inputs(context.config(), context.options().seed, length);
  const at::Tensor ids = inputs.input_ids.narrow(0, 0, 1).contiguous();
  inputs.input_ids = one_token ? at::zeros_like(ids).add_(ids[0][0]) : ids;
  inputs.token_mask = inputs.token_mask.narrow(0, 0, 1).contiguous();
  inputs.position_ids = inputs.position_ids.narrow(0, 0, 1).contiguous();
  inputs.labels = length > 1 ? inputs.input_ids : at::Tensor();
  return inputs;
}

/// What the runs of one calibration have shown so far.
class Findings {
 public:
  Findings(const Suite& suite, const CalibrationPlan& plan) : suite_(suite), plan_(plan) {}

  /// `length` is null for a model's own inputs.
  void run(const cases::SuiteContext& context, const nlohmann::json& length) {
    for (const cases::Case& c : suite_.cases()) {
      if (fnmatch(plan_.filter.c_str(), c.name.c_str(), 0) != 0) {
        continue;
      }
      const judge::CaseRecord record = cases::run_case(c, context);
      ++cases_;
      for (const judge::Comparison& comparison : record.comparisons) {
        calibration_.observe(comparison);
      }
      if (record.verdict != judge::Verdict::kPass && record.verdict != judge::Verdict::kSkip) {
        alarms_.push_back({{"seed", context.options().seed},
                           {"length", length},
                           {"case", record.name},
                           {"message", record.message}});
      }
    }
  }

  nlohmann::json document(const cases::SuiteOptions& options) const {
    return {{"suite", suite_.name},
            {"config", options.config_name},
            {"activation", core::to_string(options.dtype)},
            {"seeds", plan_.seeds},
            {"lengths", plan_.lengths},
            {"one_token", plan_.one_token},
            {"cases", cases_},
            {"gates", to_json(calibration_)},
            {"false_alarms", alarms_}};
  }

  bool clean() const { return alarms_.empty() && !calibration_.entries.empty(); }

 private:
  const Suite& suite_;
  const CalibrationPlan& plan_;
  judge::Calibration calibration_;
  std::int64_t cases_ = 0;
  nlohmann::json alarms_ = nlohmann::json::array();
};

}  // namespace

core::ExitCode calibrate(const Suite& suite, const CalibrationPlan& plan,
                         const std::function<cases::SuiteContext(std::uint64_t)>& context_for) {
  Findings findings(suite, plan);
  cases::SuiteOptions options;
  for (int seed = 1; seed <= plan.seeds; ++seed) {
    const cases::SuiteContext context = context_for(static_cast<std::uint64_t>(seed));
    options = context.options();
    if (plan.lengths.empty()) {
      findings.run(context, nullptr);
    }
    for (const std::int64_t length : plan.lengths) {
      findings.run(context.with_inputs(one_row(context, length, plan.one_token)), length);
    }
  }
  fmt::print("{}\n", findings.document(options).dump(2));
  return findings.clean() ? core::ExitCode::kPass : core::ExitCode::kHarnessFault;
}

}  // namespace sparity::runner
