#include "suites/judge/name_sets.h"

#include "suites/judge/gates.h"

#include <fmt/format.h>

#include <map>
#include <utility>

namespace sparity::judge {

namespace {

struct Occurrences {
  int candidate = 0;
  int expected = 0;
};

Comparison failure(std::string tensor, std::string gate, double lhs, std::string note) {
  Comparison comparison;
  comparison.tensor = std::move(tensor);
  comparison.gates.push_back(make_gate(std::move(gate), lhs, 0, true, std::move(note)));
  return comparison;
}

std::string describe(const Occurrences& seen) {
  if (seen.expected > 1) {
    return fmt::format("expected {} times: the names to compare with are ambiguous", seen.expected);
  }
  if (seen.candidate == 0) {
    return "the candidate lacks this output";
  }
  return seen.expected == 0 ? "the candidate has an output that nobody expects"
                            : fmt::format("the candidate has it {} times", seen.candidate);
}

}  // namespace

std::vector<Comparison> compare_names(std::span<const std::string> candidate,
                                      std::span<const std::string> expected) {
  std::map<std::string, Occurrences> seen;
  for (const std::string& name : candidate) {
    ++seen[name].candidate;
  }
  for (const std::string& name : expected) {
    ++seen[name].expected;
  }
  std::vector<Comparison> failures;
  if (expected.empty()) {
    failures.push_back(failure("(names)", "truth", 1, "no output is expected: nothing to compare"));
  }
  for (const auto& [name, occurrences] : seen) {
    if (occurrences.candidate != 1 || occurrences.expected != 1) {
      failures.push_back(failure(name, "G0", 1, describe(occurrences)));
    }
  }
  return failures;
}

}  // namespace sparity::judge
