#include "suites/lora/parity_cases.h"

#include "reference/model/linear.h"
#include "reference/model/merge.h"
#include "src/lora/merge.h"
#include "src/ops/linear.h"
#include "src/tensors/at_dtype.h"
#include "suites/cases/skips.h"
#include "suites/judge/gates.h"
#include "suites/lora/adapted.h"
#include "suites/training/objective_runs.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

namespace sparity::suites::lora {

namespace {

using cases::Case;
using cases::SuiteContext;
using core::AttentionMode;

/// Which adapters a case is about.
using MakeAdapters = std::function<std::vector<tensors::Adapter>(const SuiteContext&)>;

/// Losses, KL targets, logits and the gradient of every adapter's tensor, on three sides under the
/// candidate's choices.
void judge_adapted(const SuiteContext& bare, std::vector<tensors::Adapter> adapters,
                   const std::optional<tensors::DropoutDraw>& draw, judge::CaseRecord& record) {
  SuiteContext context = bare.with_adapters(std::move(adapters));
  if (draw) {
    context = context.dropping(*draw);
  }
  core::Objective objective{.kl = core::KlOptions()};
  objective.lm = context.inputs().labels.defined();
  const training::ObjectiveSides sides =
      training::run_objective(context, AttentionMode::kSparse, objective);
  training::judge_objective(context, sides, record);
}

Case adapted_case(const std::string& name, MakeAdapters make,
                  std::optional<tensors::DropoutDraw> draw = std::nullopt) {
  return {"lora", name,
          [make = std::move(make), draw](const SuiteContext& context, judge::CaseRecord& record) {
            judge_adapted(context, make(context), draw, record);
          }};
}

std::vector<tensors::Adapter> on_everything(const SuiteContext& context) {
  return {filled_adapter(context, config_on(every_module(context)))};
}

/// Scaling α/√r, ranks and alphas of their own, one layer alone, one module left out.
std::vector<tensors::Adapter> with_patterns(const SuiteContext& context) {
  core::AdapterConfig config = config_on(every_module(context));
  config.use_rslora = true;
  config.rank_pattern = {{"o_proj", 5}, {"layers\\.0\\.self_attn\\.q_b_proj", 2}};
  config.alpha_pattern = {{"indexer\\.wq_b", 2.5}};
  const std::int64_t last = context.config().num_hidden_layers - 1;
  if (last > 0) {
    config.exclude_modules.names = {"layers.0.self_attn.kv_a_proj_with_mqa"};
    config.layers_to_transform = {0, std::max<std::int64_t>(context.first_moe_layer(), 1)};
  }
  std::erase(config.target_modules.names, "lm_head");  // in no layer
  return {filled_adapter(context, config)};
}

/// Two on the same weights, every expert among them, and one more elsewhere.
std::vector<tensors::Adapter> several(const SuiteContext& context) {
  std::vector<std::string> modules = attention_modules();
  modules.insert(modules.end(), {"gate_proj", "up_proj", "down_proj"});
  core::AdapterConfig second =
      config_on({"o_proj", "kv_b_proj", "indexer.wq_b", "gate_proj", "down_proj"});
  second.lora_alpha = 3;  // of the same rank, so that one could be taken for the other
  return {filled_adapter(context, config_on(modules)), filled_adapter(context, second, "second"),
          filled_adapter(context, config_on({"lm_head"}), "third")};
}

/// In training, with inputs dropped out.
std::vector<tensors::Adapter> with_dropout(const SuiteContext& context) {
  core::AdapterConfig config =
      config_on({"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj", "indexer.wq_b",
                 "indexer.wk", "indexer.weights_proj", "lm_head"});
  config.lora_dropout = 0.3;
  return {filled_adapter(context, config)};
}

/// transformers' stacked experts: one A for gate and up of all experts.
void judge_stacked(const SuiteContext& context, judge::CaseRecord& record) {
  // The KL loss alone does not reach experts.
  if (cases::skip_without_experts(context, record) || cases::skip_without_labels(context, record)) {
    return;
  }
  core::AdapterConfig config = config_on({});
  config.target_parameters = {"gate_up_proj", "down_proj"};
  judge_adapted(context, {filled_adapter(context, config)}, std::nullopt, record);
}

/// Rank 4 on a weight [30, 24], scaled by 7/4.
cases::TensorMap linear_inputs(const SuiteContext& context) {
  const at::ScalarType wide = tensors::at_least_f32(context.activation());
  return {{"x", context.normal("x", {2, 37, 24})},
          {"weight", context.normal("weight", {30, 24}).div(5)},
          {"a", context.normal("a", {4, 24}).to(wide).div(5)},
          {"b", context.normal("b", {30, 4}).to(wide).div(4)}};
}

tensors::LowRankPair pair_of(const cases::TensorMap& in) {
  return {in.at("a"), in.at("b"), 7.0 / 4.0, 0.0, "default/o_proj"};
}

/// One linear weight with an adapter, rounded as projections are and as the head is not, and the
/// weight with the adapter in it.
Case linear_case() {
  namespace reference = sparity::reference::model;
  return cases::op_case(
      {.suite = "lora",
       .name = "linear_with_an_adapter",
       .inputs = linear_inputs,
       .reference = [](const SuiteContext&, const cases::TensorMap& in) -> cases::Outputs {
         reference::Linear layer(in.at("weight"));
         layer.pairs = {pair_of(in)};
         const at::ScalarType wide = tensors::at_least_f32(in.at("x").scalar_type());
         return {{"o_proj", reference::linear(in.at("x"), layer)},
                 {"lm_head", reference::linear(in.at("x").to(wide), layer.to(wide))},
                 {"kv_b_proj",
                  in.at("weight").to(wide).add(reference::weight_change(pair_of(in), wide))}};
       },
       .candidate = [](const SuiteContext&, const cases::TensorMap& in) -> cases::Outputs {
         const ops::LinearWeight weight(in.at("weight"), {pair_of(in)});
         return {{"o_proj", ops::linear(in.at("x"), weight)},
                 {"lm_head", ops::wide_linear(in.at("x"), weight)},
                 {"kv_b_proj", ops::effective_weight(weight)}};
       }});
}

/// What merging makes of every adapted weight.
void judge_merged(const SuiteContext& context, judge::CaseRecord& record) {
  std::vector<tensors::Adapter> adapters = {
      filled_adapter(context, config_on(every_module(context))),
      filled_adapter(context, config_on({"o_proj", "up_proj"}), "second")};
  if (context.first_moe_layer() >= 0) {
    core::AdapterConfig stacked = config_on({});
    stacked.target_parameters = {"gate_up_proj", "down_proj"};
    adapters.push_back(filled_adapter(context, stacked, "stacked"));
  }
  const tensors::Checkpoint& source = context.checkpoint();
  const tensors::Checkpoint rounded{source.config, source.manifest, context.weights(), {}};
  std::map<std::string, at::Tensor> widened;
  for (const auto& [name, weight] : context.weights().tensors()) {
    widened.emplace(name, weight.to(at::kDouble));
  }
  const auto baseline = reference::model::merged(context.weights(), adapters);
  const auto truth = reference::model::merged(
      tensors::WeightStore(source.manifest, std::move(widened), "widened weights"), adapters);
  const tensors::Checkpoint merged = sparity::lora::merged(rounded, adapters);
  for (const auto& [name, expected] : truth) {
    judge::TensorClaim claim;
    claim.tensor = name;
    claim.reduction_length = 4 * adapters.front().config.r;  // of three adapters, one twice as wide
    claim.computed_in = tensors::to_dtype(baseline.at(name).scalar_type());
    const judge::Tensor honest = cases::judged(baseline.at(name));
    record.comparisons.push_back(judge::compare(claim, cases::judged(merged.weights.at(name)),
                                                &honest, cases::judged(expected)));
  }
}

}  // namespace

std::vector<Case> operation_cases() {
  return {linear_case(), {"lora", "merged_weights", judge_merged}};
}

std::vector<Case> parity_cases() {
  return {
      adapted_case("objective_through_several_adapters", several),
      adapted_case("objective_through_adapters_on_everything", on_everything),
      adapted_case("objective_through_ranks_and_scalings_of_their_own", with_patterns),
      adapted_case("objective_in_training_with_dropout", with_dropout,
                   tensors::DropoutDraw{.seed = 5, .step = 2, .micro_batch = 1}),
      {"lora", "objective_through_stacked_experts", judge_stacked},
  };
}

}  // namespace sparity::suites::lora
