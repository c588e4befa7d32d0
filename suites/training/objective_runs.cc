#include "suites/training/objective_runs.h"

#include "src/tensors/recorder.h"
#include "suites/cases/case.h"
#include "suites/cases/skips.h"
#include "suites/judge/gates.h"
#include "suites/judge/tolerances.h"
#include "suites/training/undecided_signs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>

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
  if (&model != &context.candidate()) {  // what undecided signs are told by
    names.insert(names.end(), {"*.indexer.q", "*.indexer.k"});
  }
  if (&model == &context.truth()) {  // what gradients are sums of
    names.insert(names.end(), {"grad.layers.[0-9]", "grad.layers.[0-9][0-9]", "*.indexer.scores",
                               "*.indexer.weights"});
  }
  const auto run = [&](std::optional<std::uint64_t> dither) {
    tensors::Recorder recorder(names);
    for (const auto& [name, value] : forced) {
      recorder.force(name, value);
    }
    if (dither) {
      recorder.dither(*dither);
    }
    ObjectiveTrace found;
    found.run = model.objective(context.inputs(), mode, objective, tensors::Probe(&recorder));
    found.shown.trace = {recorder.order(), recorder.captured()};
    found.shown.parameters = found.run.parameters;
    return found;
  };
  ObjectiveTrace trace = run(std::nullopt);
  for (const std::uint64_t seed : cases::draw_seeds(model)) {
    ObjectiveTrace other = run(seed);
    trace.again.push_back(std::move(other.run));
    trace.shown.trace.again.push_back(other.shown.trace);
    trace.shown.again.push_back(std::move(other.shown));
  }
  return trace;
}

ObjectiveSides run_objective(const SuiteContext& context, AttentionMode mode,
                             const Objective& objective) {
  ObjectiveTrace candidate = trace_objective(context, context.candidate(), mode, objective);
  const cases::Forced choices = cases::selections_of(candidate.shown.trace);
  ObjectiveSides sides{std::move(candidate),
                       trace_objective(context, context.baseline(), mode, objective, choices),
                       trace_objective(context, context.truth(), mode, objective, choices)};
  if (objective.kl) {
    UndecidedSigns signs = undecided_signs(context, mode, objective, sides.baseline, sides.truth);
    sides.signs = signs.products;
    sides.undecided_signs = signs.undecided;
    sides.baseline.shown.slack = std::move(signs.slack);
  }
  return sides;
}

void judge_value(const SuiteContext& context, const std::string& name, const at::Tensor& candidate,
                 const std::vector<at::Tensor>& honest, const at::Tensor& truth,
                 judge::CaseRecord& record, std::optional<double> magnitude) {
  if (!truth.defined() && !candidate.defined()) {
    return;
  }
  if (!truth.defined() || !candidate.defined() || !honest.front().defined()) {
    record.comparisons.push_back(cases::claim_holds(name, false, "there on one side only"));
    return;
  }
  judge::TensorClaim claim;
  claim.tensor = name;
  claim.reduction_length = chain_length(context);
  claim.computed_in = context.options().dtype;
  // One number is one sample of rounding, however many were added up.
  claim.samples = std::min(context.samples(), truth.numel());
  claim.magnitude = magnitude;
  claim.conditioned = context.options().embedded;
  std::vector<judge::Tensor> runs;
  std::ranges::transform(honest, std::back_inserter(runs), cases::judged);
  record.comparisons.push_back(judge::compare(claim, cases::judged(candidate), &runs.front(),
                                              cases::judged(truth), std::span(runs).subspan(1)));
}

void judge_value(const SuiteContext& context, const std::string& name,
                 at::Tensor cases::ObjectiveRun::*value, const ObjectiveValues& values,
                 judge::CaseRecord& record, std::optional<double> magnitude) {
  std::vector<at::Tensor> honest = {values.baseline.run.*value};
  for (const cases::ObjectiveRun& run : values.baseline.again) {
    honest.push_back(run.*value);
  }
  judge_value(context, name, values.candidate.*value, honest, values.truth.run.*value, record,
              magnitude);
}

void judge_kl(const SuiteContext& context, const ObjectiveValues& values,
              judge::CaseRecord& record) {
  const cases::ObjectiveRun& truth = values.truth.run;
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
  judge_value(context, "kl_layer_sums", &cases::ObjectiveRun::kl_layer_sums, values, record,
              by_layer);
  judge_value(context, "kl_loss", &cases::ObjectiveRun::kl_loss, values, record, reduced);
}

void judge_objective(const SuiteContext& context, const ObjectiveSides& sides,
                     judge::CaseRecord& record) {
  const cases::ObjectiveRun& c = sides.candidate.run;
  const ObjectiveValues values{c, sides.baseline, sides.truth};
  const cases::ObjectiveRun& t = sides.truth.run;
  if (t.kl_loss.defined()) {
    cases::judge_trace(
        context, {sides.candidate.shown.trace, sides.baseline.shown.trace, sides.truth.shown.trace},
        {"*.kl_target"}, record);
  }
  judge_kl(context, values, record);
  if (sides.signs > 0) {
    record.conditions.push_back(
        {.name = "signs of index products are decided",
         .exercised = true,
         .required = false,
         .detail = fmt::format("{} of {} are too close to ReLU's kink for this dtype",
                               sides.undecided_signs, sides.signs)});
  }
  judge_value(context, "balance_loss", &cases::ObjectiveRun::balance_loss, values, record);
  judge_value(context, "lm_loss", &cases::ObjectiveRun::lm_loss, values, record);
  judge_value(context, "loss", &cases::ObjectiveRun::loss, values, record);
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
