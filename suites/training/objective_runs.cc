#include "suites/training/objective_runs.h"

#include "src/tensors/recorder.h"
#include "suites/cases/case.h"
#include "suites/cases/skips.h"
#include "suites/judge/gates.h"
#include "suites/judge/tolerances.h"

#include <algorithm>
#include <cmath>

namespace sparity::suites::training {

namespace {

using cases::BoundModel;
using cases::SuiteContext;
using core::AttentionMode;
using core::Objective;

/// K of an objective's value: the reductions of all layers, one after the other.
std::int64_t chain_length(const SuiteContext& context) {
  return context.config().num_hidden_layers * context.reduction_length();
}

}  // namespace

ObjectiveTrace trace_objective(const SuiteContext& context, const BoundModel& model,
                               AttentionMode mode, const Objective& objective,
                               const cases::Forced& forced) {
  std::vector<std::string> names = {"*.topk_indices", "*.kl_target"};
  if (&model == &context.truth()) {  // what gradients are sums of
    names.insert(names.end(), {"grad.layers.[0-9]", "grad.layers.[0-9][0-9]", "*.indexer.scores"});
  }
  tensors::Recorder recorder(names);
  for (const auto& [name, value] : forced) {
    recorder.force(name, value);
  }
  ObjectiveTrace trace;
  trace.run = model.objective(context.inputs(), mode, objective, tensors::Probe(&recorder));
  trace.shown.trace = {recorder.order(), recorder.captured()};
  trace.shown.parameters = trace.run.parameters;
  return trace;
}

ObjectiveSides run_objective(const SuiteContext& context, AttentionMode mode,
                             const Objective& objective) {
  ObjectiveTrace candidate = trace_objective(context, context.candidate(), mode, objective);
  const cases::Forced choices = cases::selections_of(candidate.shown.trace);
  return {std::move(candidate),
          trace_objective(context, context.baseline(), mode, objective, choices),
          trace_objective(context, context.truth(), mode, objective, choices)};
}

void judge_value(const SuiteContext& context, const std::string& name, const at::Tensor& candidate,
                 const at::Tensor& baseline, const at::Tensor& truth, judge::CaseRecord& record,
                 std::optional<double> magnitude) {
  if (!truth.defined() && !candidate.defined()) {
    return;
  }
  if (!truth.defined() || !candidate.defined() || !baseline.defined()) {
    record.comparisons.push_back(cases::claim_holds(name, false, "there on one side only"));
    return;
  }
  judge::TensorClaim claim;
  claim.tensor = name;
  claim.reduction_length = chain_length(context);
  claim.computed_in = context.options().dtype;
  // One number is one sample of rounding, however many were added up.
  claim.samples = std::min(context.distinct_tokens(), truth.numel());
  claim.magnitude = magnitude;
  const judge::Tensor honest = cases::judged(baseline);
  record.comparisons.push_back(
      judge::compare(claim, cases::judged(candidate), &honest, cases::judged(truth)));
}

void judge_kl(const SuiteContext& context, const cases::ObjectiveRun& candidate,
              const cases::ObjectiveRun& baseline, const cases::ObjectiveRun& truth,
              judge::CaseRecord& record) {
  std::optional<double> by_layer;
  std::optional<double> reduced;
  const bool few = judge::widening(context.distinct_tokens()) > 1;
  if (few && truth.kl_loss.defined() && truth.kl_layer_sums.defined()) {
    by_layer = static_cast<double>(truth.kl_rows) *
               std::log(static_cast<double>(context.inputs().input_ids.size(1)));
    const double sum = truth.kl_layer_sums.sum().item<double>();
    const double share = sum > 0 ? truth.kl_loss.item<double>() / sum : 0.0;
    reduced = share * static_cast<double>(truth.kl_layer_sums.numel()) * *by_layer;
  }
  judge_value(context, "kl_layer_sums", candidate.kl_layer_sums, baseline.kl_layer_sums,
              truth.kl_layer_sums, record, by_layer);
  judge_value(context, "kl_loss", candidate.kl_loss, baseline.kl_loss, truth.kl_loss, record,
              reduced);
}

void judge_objective(const SuiteContext& context, const ObjectiveSides& sides,
                     judge::CaseRecord& record) {
  const cases::ObjectiveRun& c = sides.candidate.run;
  const cases::ObjectiveRun& b = sides.baseline.run;
  const cases::ObjectiveRun& t = sides.truth.run;
  if (t.kl_loss.defined()) {
    cases::judge_trace(
        context, {sides.candidate.shown.trace, sides.baseline.shown.trace, sides.truth.shown.trace},
        {"*.kl_target"}, record);
  }
  judge_kl(context, c, b, t, record);
  judge_value(context, "balance_loss", c.balance_loss, b.balance_loss, t.balance_loss, record);
  judge_value(context, "lm_loss", c.lm_loss, b.lm_loss, t.lm_loss, record);
  judge_value(context, "loss", c.loss, b.loss, t.loss, record);
  record.comparisons.push_back(
      cases::claim_holds("kl_rows", c.kl_rows == t.kl_rows, "rows that count"));
  record.comparisons.push_back(cases::claim_holds(
      "labels", c.labels_counted == t.labels_counted && c.labels_ignored == t.labels_ignored,
      "labels that count, and those that padding would predict"));
  for (const auto& [name, load] : t.expert_loads) {
    const auto own = c.expert_loads.find(name);
    if (!c.expert_loads.empty()) {
      record.comparisons.push_back(cases::claim_holds(
          name, own != c.expert_loads.end() && own->second.equal(load), "tokens of every expert"));
    }
  }
  cases::judge_parameter_gradients(
      context, {sides.candidate.shown, sides.baseline.shown, sides.truth.shown}, record);
}

void judge_disjoint_losses(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const auto gradients = [&](const Objective& objective) {
    return trace_objective(context, context.candidate(), AttentionMode::kSparse, objective)
        .run.parameters;
  };
  const auto both = gradients({.kl = core::KlOptions()});
  auto alone = gradients({});
  alone.merge(gradients({.lm = false, .kl = core::KlOptions()}));
  record.comparisons.push_back(cases::claim_holds("gradients", both.size() == alone.size(),
                                                  "as many as of each loss alone"));
  for (const auto& [name, gradient] : alone) {
    const auto own = both.find(name);
    record.comparisons.push_back(
        own == both.end() ? cases::claim_holds(name, false, "has a gradient beside the other loss")
                          : cases::compare_bits(name, own->second, gradient));
  }
}

}  // namespace sparity::suites::training
