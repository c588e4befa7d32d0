#include "suites/runner/kill_check.h"

#include "src/core/error.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <optional>

namespace sparity::runner {

namespace {

/// Plants a fault for as long as it lives.
class PlantedFault {
 public:
  explicit PlantedFault([[maybe_unused]] core::Fault fault) {
#ifdef SPARITY_FAULTS
    core::sparity_fault_plant(fault);
#endif
  }
  ~PlantedFault() {
#ifdef SPARITY_FAULTS
    core::sparity_fault_plant(core::Fault::kNone);
#endif
  }
  PlantedFault(const PlantedFault&) = delete;
  PlantedFault& operator=(const PlantedFault&) = delete;
};

/// The first comparison of a suite that fails through a gate.
struct Failure {
  std::string case_name;
  std::string tensor;
  judge::Gate gate;
};

std::optional<Failure> first_failure(const Suite& suite, const cases::SuiteContext& context) {
  for (const cases::Case& c : suite.cases()) {
    const judge::CaseRecord record = cases::run_case(c, context);
    if (record.verdict != judge::Verdict::kFail) {
      continue;
    }
    for (const judge::Comparison& comparison : record.comparisons) {
      if (const judge::Gate* gate = comparison.first_failed()) {
        return Failure{record.name, comparison.tensor, *gate};
      }
    }
  }
  return std::nullopt;
}

bool ends_with_name(const std::string& tensor, std::string_view name) {
  return tensor.ends_with(name);
}

Kill kill_of(const core::FaultInfo& fault, const Suite& suite, const cases::SuiteContext& context) {
  const PlantedFault planted(fault.fault);
  Kill kill;
  kill.fault = fault;
  kill.dtype = std::string(core::to_string(context.options().dtype));
  if (const std::optional<Failure> failure = first_failure(suite, context)) {
    kill.killed = true;
    kill.located = ends_with_name(failure->tensor, fault.locate);
    kill.case_name = failure->case_name;
    kill.tensor = failure->tensor;
    kill.gate = failure->gate.name;
    kill.headroom = failure->gate.headroom();
  }
  return kill;
}

void require_clean(const Suite& suite, const cases::SuiteContext& context) {
  for (const cases::Case& c : suite.cases()) {
    const judge::CaseRecord record = cases::run_case(c, context);
    SPARITY_CHECK(
        record.verdict == judge::Verdict::kPass || record.verdict == judge::Verdict::kSkip,
        fmt::format("suite {} fails with no fault planted: {}: {}", suite.name, c.name,
                    record.message));
  }
}

}  // namespace

std::vector<Kill> check_kills(const Suite& suite, const cases::SuiteContext& context) {
  require_clean(suite, context);
  std::vector<Kill> kills;
  for (const core::FaultInfo& fault : core::fault_register()) {
    const bool shows =
        fault.dtype.empty() || fault.dtype == core::to_string(context.options().dtype);
    if (fault.suite == suite.name && shows) {
      kills.push_back(kill_of(fault, suite, context));
    }
  }
  SPARITY_CHECK(!kills.empty(),
                fmt::format("suite {} has no planted fault to kill in this build", suite.name));
  return kills;
}

nlohmann::json to_json(const Kill& kill) {
  return {{"fault", kill.fault.id},
          {"title", kill.fault.title},
          {"suite", kill.fault.suite},
          {"expected_at", kill.fault.locate},
          {"dtype", kill.dtype},
          {"killed", kill.killed},
          {"located", kill.located},
          {"case", kill.case_name},
          {"tensor", kill.tensor},
          {"gate", kill.gate},
          {"headroom",
           std::isfinite(kill.headroom) ? nlohmann::json(kill.headroom) : nlohmann::json("inf")}};
}

}  // namespace sparity::runner
