#include "suites/cli/compare_tensors.h"

#include "src/core/error.h"
#include "suites/judge/gates.h"
#include "suites/judge/gradient_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

namespace sparity::cli {

namespace {

using Names = std::vector<std::string>;

/// Parameters' gradients that both sides have, by the name that they are judged under.
std::map<std::string, Names> gradient_groups(const ComparedDumps& dumps) {
  std::map<std::string, Names> groups;
  for (const auto& [name, tensor] : dumps.candidate().tensors) {
    if (name.starts_with("grad.") && dumps.truth().contains(name)) {
      groups[judge::gradient_group(name)].push_back(name);
    }
  }
  return groups;
}

/// Nobody vouches for a trusted baseline, so it must itself pass the rule for want of one: what is
/// compared with it would only be as right as it is.
void check_trusted(const ComparedDumps& dumps, judge::TensorClaim claim,
                   const judge::Tensor& baseline, const judge::Tensor& truth) {
  if (dumps.baseline_known()) {
    return;
  }
  claim.expected_dtype = baseline.dtype;
  const judge::Comparison own = judge::compare(claim, baseline, nullptr, truth);
  for (const judge::Gate& gate : own.gates) {
    SPARITY_CHECK_INPUT(
        gate.ok || gate.name != "G1",
        fmt::format("{}: tensor '{}': expected at most {:.4g} away from {}, as a baseline of "
                    "unknown origin may be, found {:.4g}",
                    dumps.baseline()->path, claim.tensor, gate.rhs, dumps.truth().path, gate.lhs));
  }
}

judge::Comparison judged(const ComparedDumps& dumps, const judge::TensorClaim& claim,
                         const judge::Tensor& candidate, const judge::Tensor* baseline,
                         const judge::Tensor& truth) {
  if (baseline != nullptr) {
    check_trusted(dumps, claim, *baseline, truth);
  }
  return judge::compare(claim, candidate, baseline, truth);
}

template <typename TensorOf>
judge::Tensor stacked(const Names& names, TensorOf tensor_of) {
  std::vector<const judge::Tensor*> members;
  for (const std::string& name : names) {
    members.push_back(tensor_of(name));
  }
  return judge::stacked(members);
}

judge::Comparison judge_stacked(const ComparedDumps& dumps, const std::string& group,
                                const Names& names) {
  const judge::Tensor candidate =
      stacked(names, [&](const std::string& name) { return &dumps.candidate().at(name); });
  const judge::Tensor truth =
      stacked(names, [&](const std::string& name) { return &dumps.truth().at(name); });
  std::optional<judge::Tensor> baseline;
  if (dumps.baseline()) {
    baseline = stacked(names, [&](const std::string& name) { return dumps.baseline_tensor(name); });
  }
  judge::TensorClaim claim = dumps.claim(group, candidate, truth);
  claim.both_axes = dumps.truth().at(names.front()).shape.size() == 2;
  return judged(dumps, claim, candidate, baseline ? &*baseline : nullptr, truth);
}

}  // namespace

judge::Comparison judge_tensor(const ComparedDumps& dumps, const std::string& name) {
  const judge::Tensor& candidate = dumps.candidate().at(name);
  return judged(dumps, dumps.claim(name, candidate, dumps.truth().at(name)), candidate,
                dumps.baseline_tensor(name), dumps.truth().at(name));
}

std::vector<judge::Comparison> judge_parameter_gradients(const ComparedDumps& dumps) {
  std::vector<judge::Comparison> comparisons;
  for (const auto& [group, names] : gradient_groups(dumps)) {
    const auto& shape = dumps.truth().at(names.front()).shape;
    const bool stackable = std::ranges::all_of(names, [&](const std::string& name) {
      return dumps.paired(name) && dumps.truth().at(name).shape == shape;
    });
    if (stackable) {
      comparisons.push_back(judge_stacked(dumps, group, names));
      continue;
    }
    for (const std::string& name : names) {
      comparisons.push_back(judge_tensor(dumps, name));
    }
  }
  return comparisons;
}

}  // namespace sparity::cli
