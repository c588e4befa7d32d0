#include "suites/lora/relation_cases.h"

#include "src/lora/merge.h"
#include "src/tensors/at_dtype.h"
#include "suites/cases/gradient_paths.h"
#include "suites/cases/skips.h"
#include "suites/lora/adapted.h"
#include "suites/training/objective_runs.h"

#include <ATen/ops/equal.h>
#include <fmt/format.h>

#include <set>
#include <string>

namespace sparity::suites::lora {

namespace {

using cases::Arrival;
using cases::Case;
using cases::SuiteContext;
using core::AttentionMode;

/// An adapter as it starts, B = 0.
tensors::Adapter new_adapter(const SuiteContext& context, const core::AdapterConfig& config) {
  return tensors::seeded_adapter(config, context.checkpoint().manifest, "default",
                                 context.options().seed, "suite lora");
}

at::Tensor logits_of(const SuiteContext& context) {
  return context.candidate().forward(context.inputs(), AttentionMode::kSparse);
}

/// Modules whose adapters may drop out: kv_b_proj and experts are changed before an input is seen.
core::AdapterConfig dropping_config(double dropout) {
  core::AdapterConfig config = config_on(
      {"q_a_proj", "q_b_proj", "o_proj", "indexer.wq_b", "indexer.weights_proj", "lm_head"});
  config.lora_dropout = dropout;
  return config;
}

/// Dropout is for training alone: an evaluation is that of the same adapter without.
void judge_evaluation(const SuiteContext& bare, judge::CaseRecord& record) {
  const SuiteContext dropping = bare.with_adapters({filled_adapter(bare, dropping_config(0.4))});
  const SuiteContext steady = bare.with_adapters({filled_adapter(bare, dropping_config(0.0))});
  record.comparisons.push_back(
      cases::compare_bits("logits", logits_of(dropping), logits_of(steady)));
}

/// The same draw drops the same, any other something else.
void judge_draws(const SuiteContext& bare, judge::CaseRecord& record) {
  const SuiteContext context = bare.with_adapters({filled_adapter(bare, dropping_config(0.4))});
  const auto logits = [&](std::int64_t step, std::int64_t micro_batch) {
    return logits_of(context.dropping({context.options().seed, step, micro_batch}));
  };
  const at::Tensor first = logits(3, 1);
  record.comparisons.push_back(cases::compare_bits("the same draw", logits(3, 1), first));
  const auto differs = [&](const std::string& name, const at::Tensor& other) {
    record.comparisons.push_back(
        cases::claim_holds(name, !at::equal(other, first), "logits differ from the first draw's"));
  };
  differs("the next step", logits(4, 1));
  differs("the next micro-batch", logits(3, 2));
  differs("evaluation", logits_of(context));
}

/// B = 0: the logits keep their bits, A gets a gradient of exact zeros, B one other than
/// zero; of an expert without a token, or as the reference has it of another model, zeros too.
void judge_start(const SuiteContext& bare, judge::CaseRecord& record) {
  const SuiteContext context =
      bare.with_adapters({new_adapter(bare, config_on(every_module(bare)))});
  record.comparisons.push_back(cases::compare_bits("logits", logits_of(context), logits_of(bare)));
  if (cases::skip_without_labels(bare, record)) {
    record.verdict = judge::Verdict::kPass;
    return;
  }
  const training::ObjectiveTrace run = training::trace_objective(
      context, context.candidate(), AttentionMode::kSparse, {.kl = core::KlOptions()});
  const training::ObjectiveTrace truth =
      training::trace_objective(context, context.truth(), AttentionMode::kSparse,
                                {.kl = core::KlOptions()}, cases::selections_of(run.shown.trace));
  const tensors::Adapter& adapter = context.adapters().front();
  for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
    const std::string name = tensors::name_in_memory(tensor.name, adapter.name);
    const Arrival found = cases::arrival_at(run.shown, name);
    Arrival wanted = Arrival::kZero;
    if (!tensor.is_a) {
      wanted = tensor.role == core::ParameterRole::kExpert
                   ? cases::arrival_at(truth.shown, name)
                   : cases::arrival_where_reached(context, truth.shown, name);
    }
    const char* note = wanted == Arrival::kNonZero ? "not zero" : "exact zeros, as the reference's";
    record.comparisons.push_back(cases::claim_holds(
        "grad." + name, found == wanted, tensor.is_a ? "exact zeros, while B is zero" : note));
  }
}

/// What merging and taking out again may be off by: one rounding of the merged weight, one of the
/// result, and two of a sum in f32.
double worst_share(const at::Tensor& back, const at::Tensor& merged, const at::Tensor& weight) {
  const double u = core::unit_roundoff(tensors::to_dtype(weight.scalar_type())) +
                   core::unit_roundoff(core::Dtype::kF32);
  const at::Tensor from = weight.to(at::kDouble);
  const at::Tensor allowed = merged.to(at::kDouble).abs().add(from.abs()).mul(u).add(1e-300);
  return back.to(at::kDouble).sub(from).abs().div(allowed).max().item().toDouble();
}

/// Merging changes what the adapter is on and nothing else; taken out, the weights are back but for
/// rounding.
void judge_unmerging(const SuiteContext& context, judge::CaseRecord& record) {
  const std::vector<tensors::Adapter> adapters = {
      filled_adapter(context, config_on(every_module(context)))};
  const tensors::Checkpoint& source = context.checkpoint();
  const tensors::Checkpoint rounded{source.config, source.manifest, context.weights(), {}};
  const tensors::Checkpoint merged = sparity::lora::merged(rounded, adapters);
  const tensors::Checkpoint back =
      sparity::lora::merged(merged, adapters, sparity::lora::MergeDirection::kUnmerge);
  std::set<std::string> adapted;
  for (const core::AdapterPair& pair : adapters.front().layout.pairs()) {
    adapted.insert(pair.parameter);
  }
  for (const core::ParameterSpec& parameter : source.manifest.parameters()) {
    const at::Tensor& weight = context.weights().at(parameter.name);
    const at::Tensor& with = merged.weights.at(parameter.name);
    const bool changed = !at::equal(with, weight);
    const double share = worst_share(back.weights.at(parameter.name), with, weight);
    record.comparisons.push_back(cases::claim_holds(
        parameter.name, changed == adapted.contains(parameter.name) && share <= 1.0,
        fmt::format("{} by merging; taken out again within {:.2f} of what rounding allows",
                    changed ? "changed" : "not changed", share)));
  }
}

}  // namespace

std::vector<Case> relation_cases() {
  return {
      {"lora", "evaluation_drops_nothing", judge_evaluation},
      {"lora", "dropout_repeats_its_draw", judge_draws},
      {"lora", "a_new_adapter_changes_nothing", judge_start},
      {"lora", "merging_is_undone_by_unmerging", judge_unmerging},
  };
}

}  // namespace sparity::suites::lora
