#include "suites/cases/gradient_paths.h"

#include "src/tensors/recorder.h"
#include "suites/cases/case.h"
#include "suites/judge/tolerances.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace sparity::cases {

namespace {

using core::ParameterRole;

std::string_view words(Arrival arrival) {
  switch (arrival) {
    case Arrival::kNone:
      return "no gradient";
    case Arrival::kZero:
      return "a gradient of exact zeros";
    case Arrival::kNonZero:
      return "a gradient other than zero";
  }
  return "";
}

/// A row's heading in the grid.
std::string_view group_of(ParameterRole role) {
  switch (role) {
    case ParameterRole::kEmbedding:
      return "embedding";
    case ParameterRole::kHead:
      return "head";
    case ParameterRole::kNormGain:
      return "norm gains";
    case ParameterRole::kAttention:
      return "attention projections";
    case ParameterRole::kIndexer:
      return "indexer projections";
    case ParameterRole::kIndexerNormGain:
      return "indexer norm gains";
    case ParameterRole::kIndexerNormBias:
      return "indexer norm biases";
    case ParameterRole::kRouter:
      return "routers";
    case ParameterRole::kRouterBias:
      return "router biases";
    case ParameterRole::kMlp:
      return "dense MLPs";
    case ParameterRole::kExpert:
      return "routed experts";
    case ParameterRole::kSharedExpert:
      return "shared experts";
  }
  return "";
}

void count(judge::PathTally& tally, Arrival arrival) {
  switch (arrival) {
    case Arrival::kNone:
      ++tally.none;
      break;
    case Arrival::kZero:
      ++tally.zero;
      break;
    case Arrival::kNonZero:
      ++tally.non_zero;
      break;
  }
}

/// The cell of `loss` and `group`, new where there was none.
judge::GradientPath& cell_of(judge::CaseRecord& record, const std::string& loss,
                             std::string_view group) {
  const auto found = std::ranges::find_if(record.paths, [&](const judge::GradientPath& path) {
    return path.loss == loss && path.group == group;
  });
  if (found != record.paths.end()) {
    return *found;
  }
  judge::GradientPath& cell = record.paths.emplace_back();
  cell.loss = loss;
  cell.group = group;
  return cell;
}

}  // namespace

Arrival arrival_at(const BackwardTrace& run, const std::string& parameter) {
  const auto found = run.parameters.find(parameter);
  if (found == run.parameters.end()) {
    return Arrival::kNone;
  }
  return found->second.ne(0).any().item<bool>() ? Arrival::kNonZero : Arrival::kZero;
}

Arrival arrival_where_reached(const SuiteContext& context, const BackwardTrace& truth,
                              const std::string& parameter) {
  const bool zeros = !context.options().embedded && arrival_at(truth, parameter) == Arrival::kZero;
  return zeros ? Arrival::kZero : Arrival::kNonZero;
}

bool is_residue(const BackwardTrace& truth, const std::string& parameter) {
  const auto largest_of = [](const at::Tensor& gradient) {
    return gradient.abs().max().item().toDouble();
  };
  double largest = 0;
  for (const auto& [name, gradient] : truth.parameters) {
    largest = std::max(largest, largest_of(gradient));
  }
  const auto own = truth.parameters.find(parameter);
  const double size = own == truth.parameters.end() ? 0 : largest_of(own->second);
  return size > 0 && size <= judge::kResidue * largest;
}

void judge_paths(const SuiteContext& context, const std::string& loss, const BackwardTrace& run,
                 const ExpectedArrival& expected, judge::CaseRecord& record) {
  for (const core::ParameterSpec& parameter : context.differentiated()) {
    const Arrival wanted = expected(parameter);
    const Arrival found = arrival_at(run, parameter.name);
    record.comparisons.push_back(
        claim_holds(tensors::gradient_name(parameter.name), found == wanted,
                    fmt::format("{}: expected {}, found {}", loss, words(wanted), words(found))));
    const std::string on = context.adapters().empty() ? "" : "adapters of ";
    judge::GradientPath& cell = cell_of(record, loss, on + std::string(group_of(parameter.role)));
    count(cell.expected, wanted);
    count(cell.found, found);
    cell.agreeing += found == wanted ? 1 : 0;
  }
}

}  // namespace sparity::cases
