#include "suites/judge/record.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace sparity::judge {

namespace {

constexpr std::array kVerdictNames = {
    std::pair{Verdict::kPass, std::string_view("pass")},
    std::pair{Verdict::kFail, std::string_view("fail")},
    std::pair{Verdict::kInconclusive, std::string_view("inconclusive")},
    std::pair{Verdict::kSkip, std::string_view("skip")},
    std::pair{Verdict::kCrash, std::string_view("crash")},
    std::pair{Verdict::kTimeout, std::string_view("timeout")},
    std::pair{Verdict::kOutOfMemory, std::string_view("out_of_memory")},
    std::pair{Verdict::kBadInput, std::string_view("bad_input")},
    std::pair{Verdict::kHarnessFault, std::string_view("harness_fault")},
};

}  // namespace

std::string_view to_string(Verdict verdict) {
  const auto* found =
      std::ranges::find(kVerdictNames, verdict, &decltype(kVerdictNames)::value_type::first);
  return found == kVerdictNames.end() ? "unknown" : found->second;
}

std::optional<Verdict> verdict_from_string(std::string_view name) {
  const auto* found =
      std::ranges::find(kVerdictNames, name, &decltype(kVerdictNames)::value_type::second);
  return found == kVerdictNames.end() ? std::nullopt : std::optional(found->first);
}

std::string_view to_string(DivergenceClass value) {
  switch (value) {
    case DivergenceClass::kClean:
      return "clean";
    case DivergenceClass::kBug:
      return "bug";
    case DivergenceClass::kAccumulated:
      return "accumulated";
    case DivergenceClass::kUnexplained:
      return "unexplained";
  }
  return "unknown";
}

double Gate::headroom() const {
  // A side that is not a number failed; 0 or NaN would hide it from a maximum.
  if (!std::isfinite(lhs) || !std::isfinite(rhs)) {
    return std::numeric_limits<double>::infinity();
  }
  if (lhs == 0) {
    return 0;
  }
  return rhs > 0 ? lhs / rhs : std::numeric_limits<double>::infinity();
}

bool GradientPath::holds() const {
  return agreeing > 0 && agreeing == expected.total() && agreeing == found.total();
}

bool Comparison::passed() const { return !gates.empty() && first_failed() == nullptr; }

const Gate* Comparison::first_failed() const {
  const auto found =
      std::ranges::find_if(gates, [](const Gate& gate) { return gate.blocking && !gate.ok; });
  return found == gates.end() ? nullptr : &*found;
}

double Comparison::worst_headroom() const {
  double largest = 0;
  for (const Gate& gate : gates) {
    if (gate.blocking) {
      largest = std::max(largest, gate.headroom());
    }
  }
  return largest;
}

}  // namespace sparity::judge
