#include "suites/cli/compare_tensors.h"

#include "src/core/dtype.h"
#include "src/core/error.h"
#include "suites/cases/bound_model.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/gates.h"
#include "suites/judge/gradient_group.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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

/// A loss that must be what the candidate's own dump makes it, within `allowed`.
judge::Comparison own_loss(const ComparedDumps& dumps, const std::string& name, double expected,
                           double allowed, const std::string& note) {
  const judge::Tensor& loss = dumps.candidate().at(name);
  judge::Comparison comparison;
  comparison.tensor = name;
  comparison.dtype = loss.dtype;
  comparison.shape = loss.shape;
  comparison.rms_truth = std::abs(expected);
  comparison.rms_candidate_error = std::abs(loss.values.at(0) - expected);
  comparison.gates.push_back(
      judge::make_gate("own", comparison.rms_candidate_error, allowed, true, note));
  return comparison;
}

at::Tensor as_tensor(const judge::Tensor& tensor) {
  at::Tensor values = at::empty(tensor.shape, at::kDouble);
  std::ranges::copy(tensor.values, values.mutable_data_ptr<double>());
  return values;
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

std::vector<judge::Comparison> judge_own_losses(const ComparedDumps& dumps) {
  std::vector<judge::Comparison> comparisons;
  const Dump& own = dumps.candidate();
  const auto is_loss = [&](const std::string& name) {
    return dumps.paired(name) && own.at(name).values.size() == 1;
  };
  const double u =
      std::min(core::unit_roundoff(core::Dtype::kF32), core::unit_roundoff(dumps.dtype()));
  if (is_loss("lm_loss") && dumps.paired("logits") && dumps.inputs() &&
      dumps.inputs()->labels.defined()) {
    const judge::Tensor& logits = own.at("logits");
    const double loss =
        cases::reference_loss(as_tensor(logits), *dumps.inputs()).loss.item<double>();
    const double size = std::abs(loss) + judge::rms(logits.values);
    comparisons.push_back(own_loss(dumps, "lm_loss", loss,
                                   16 * std::sqrt(static_cast<double>(logits.columns())) * u * size,
                                   "from the mean cross entropy of the candidate's own logits"));
  }
  if (is_loss("loss") && is_loss("lm_loss")) {
    const double kl = is_loss("kl_loss") ? own.at("kl_loss").values[0] : 0.0;
    const double sum = own.at("lm_loss").values[0] + kl;
    comparisons.push_back(own_loss(dumps, "loss", sum, 4 * u * std::abs(sum),
                                   "from the candidate's own lm_loss + kl_loss"));
  }
  return comparisons;
}

}  // namespace sparity::cli
