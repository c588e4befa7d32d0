#include "suites/judge/condensed.h"

#include "suites/judge/gates.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <utility>

namespace sparity::judge {

namespace {

double rounded_to_three_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g", value);
  const double result = std::strtod(text, nullptr);
  return std::isfinite(result) ? result : value;  // the largest numbers would become infinite
}

Gate in_short(const Gate& gate) {
  return make_gate(gate.name, rounded_to_three_digits(gate.lhs), rounded_to_three_digits(gate.rhs),
                   gate.blocking);
}

}  // namespace

bool is_comfortable(const Gate& gate) { return gate.ok && gate.headroom() <= kComfortable; }

bool held_comfortably(const Comparison& comparison) {
  const bool carries_nothing = comparison.undecided.empty() && comparison.worst.empty() &&
                               comparison.buckets.empty() && !comparison.error_map;
  return carries_nothing && !comparison.gates.empty() &&
         std::ranges::all_of(comparison.gates, [](const Gate& gate) {
           return gate.ok && is_comfortable(in_short(gate));
         });
}

Comparison condensed(Comparison comparison) {
  if (held_comfortably(comparison)) {
    Comparison kept;
    kept.tensor = std::move(comparison.tensor);
    kept.dtype = comparison.dtype;
    kept.shape = std::move(comparison.shape);
    std::ranges::transform(comparison.gates, std::back_inserter(kept.gates), in_short);
    return kept;
  }
  if (comparison.passed()) {
    for (Gate& gate : comparison.gates) {
      if (is_comfortable(gate)) {
        gate.note.clear();
      }
    }
  }
  return comparison;
}

void condense(std::vector<Comparison>& comparisons) {
  for (Comparison& comparison : comparisons) {
    comparison = condensed(std::move(comparison));
  }
}

}  // namespace sparity::judge
