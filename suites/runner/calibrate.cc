#include "suites/runner/calibrate.h"

#include "suites/judge/tolerances.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sparity::runner {

namespace {

nlohmann::json to_json(const judge::Calibration& calibration) {
  nlohmann::json entries = nlohmann::json::array();
  for (const judge::Calibration::Entry& entry : calibration.entries) {
    entries.push_back({{"gate", entry.gate},
                       {"dtype", core::to_string(entry.dtype)},
                       {"largest_headroom", entry.largest_headroom},
                       {"comparisons", entry.comparisons}});
  }
  return entries;
}

}  // namespace

core::ExitCode calibrate(const Suite& suite, int seeds,
                         const std::function<cases::SuiteContext(std::uint64_t)>& context_for) {
  judge::Calibration calibration;
  nlohmann::json alarms = nlohmann::json::array();
  std::string activation;
  for (int seed = 1; seed <= seeds; ++seed) {
    const cases::SuiteContext context = context_for(static_cast<std::uint64_t>(seed));
    activation = std::string(core::to_string(context.options().dtype));
    for (const cases::Case& c : suite.cases()) {
      const judge::CaseRecord record = cases::run_case(c, context);
      for (const judge::Comparison& comparison : record.comparisons) {
        calibration.observe(comparison);
      }
      if (record.verdict != judge::Verdict::kPass && record.verdict != judge::Verdict::kSkip) {
        alarms.push_back({{"seed", seed}, {"case", record.name}, {"message", record.message}});
      }
    }
  }
  const nlohmann::json document = {{"suite", suite.name},
                                   {"activation", activation},
                                   {"seeds", seeds},
                                   {"gates", to_json(calibration)},
                                   {"false_alarms", alarms}};
  fmt::print("{}\n", document.dump(2));
  return alarms.empty() ? core::ExitCode::kPass : core::ExitCode::kHarnessFault;
}

}  // namespace sparity::runner
