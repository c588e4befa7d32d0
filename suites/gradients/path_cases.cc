#include "suites/gradients/path_cases.h"

#include "suites/cases/gradient_paths.h"
#include "suites/cases/skips.h"
#include "suites/gradients/backward_runs.h"

#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <memory>
#include <set>

namespace sparity::suites::gradients {

namespace {

using cases::Arrival;
using cases::Case;
using cases::SuiteContext;
using core::ParameterRole;

/// "model.layers.3.mlp.experts.7.": the part of an expert's parameter that names the expert.
std::string expert_of(const std::string& parameter) {
  const std::size_t number = parameter.find(".experts.") + 9;
  return parameter.substr(0, parameter.find('.', number) + 1);
}

/// The rows of `choice` [B, S, K] at `tokens` [B, S].
at::Tensor rows_at(const at::Tensor& choice, const at::Tensor& tokens) {
  const at::Tensor rows = tokens.reshape({-1}).nonzero().view({-1});
  return choice.reshape({tokens.numel(), -1}).index_select(0, rows).contiguous();
}

/// Tokens [B, T] whose keys the queries `tokens` [B, S] selected.
at::Tensor keys_of(const at::Tensor& selected, const at::Tensor& tokens) {
  // −1, for no key, and the choices of other queries go to place 0, which is cut off.
  const at::Tensor place = selected.add(1).mul(tokens.unsqueeze(-1)).flatten(1);
  return at::zeros({tokens.size(0), tokens.size(1) + 1}, at::kBool)
      .scatter_(1, place, true)
      .narrow(1, 1, tokens.size(1));
}

/// Experts at which a gradient arrives that starts from the logits of `tokens`: chosen by a token
/// that those reach through the keys selected in the layers above.
std::set<std::string> reached_experts(const SuiteContext& context, const cases::BackwardTrace& run,
                                      at::Tensor tokens) {
  std::set<std::string> reached;
  for (std::int64_t layer = context.config().num_hidden_layers - 1; layer >= 0; --layer) {
    const std::string prefix = fmt::format("layers.{}.", layer);
    if (context.config().is_moe_layer(layer)) {
      const at::Tensor chosen =
          rows_at(run.trace.tensors.at(prefix + "mlp.gate.topk_indices"), tokens);
      const auto* expert = chosen.const_data_ptr<std::int64_t>();
      for (std::int64_t i = 0; i < chosen.numel(); ++i) {
        reached.insert(fmt::format("model.{}mlp.experts.{}.", prefix, expert[i]));
      }
    }
    tokens = tokens.logical_or(
        keys_of(run.trace.tensors.at(prefix + "self_attn.indexer.topk_indices"), tokens));
  }
  return reached;
}

/// Tokens [B, S] whose logits the LM loss counts: those that predict a label.
at::Tensor predicting_tokens(const tensors::Inputs& inputs) {
  const std::int64_t last = inputs.labels.size(1) - 1;
  at::Tensor predicting = inputs.token_mask.clone();
  predicting.narrow(1, 0, last).logical_and_(inputs.labels.narrow(1, 1, last).ne(-100));
  predicting.narrow(1, last, 1).fill_(false);
  return predicting;
}

/// What a gradient of the logits of `tokens` leaves where. Nothing of it reaches the indexer, which
/// it would train by what it may not see, nor the router's bias, which is not trained by gradients.
/// Where the candidate has exact zeros the truth may have them too: a model of zeros passes none
/// on.
cases::ExpectedArrival arrivals(const SuiteContext& context, const cases::BackwardPlan& plan,
                                const cases::BackwardTrace& run, const at::Tensor& tokens) {
  return [reached = reached_experts(context, run, tokens), &run,
          zero = std::make_shared<ZeroInTruth>(context, plan, run)](
             const core::ParameterSpec& parameter) {
    switch (parameter.role) {
      case ParameterRole::kIndexer:
      case ParameterRole::kIndexerNormGain:
      case ParameterRole::kIndexerNormBias:
      case ParameterRole::kRouterBias:
        return Arrival::kNone;
      case ParameterRole::kExpert:
        if (!reached.contains(expert_of(parameter.name))) {
          return Arrival::kZero;
        }
        break;
      default:
        break;
    }
    const bool zeros = cases::arrival_at(run, parameter.name) == Arrival::kZero;
    return zeros && zero->parameter(parameter.name) ? Arrival::kZero : Arrival::kNonZero;
  };
}

/// A label that nothing predicts leaves paths closed; random cotangents of every token leave none.
void judge_cotangent_paths(const SuiteContext& context, judge::CaseRecord& record) {
  const cases::BackwardPlan plan{.inputs = context.inputs(),
                                 .cotangent = cotangent_for(context, "gradients.paths")};
  const cases::BackwardTrace run = cases::trace_backward(context.candidate(), plan);
  cases::judge_paths(context, "random cotangents", run,
                     arrivals(context, plan, run, context.inputs().token_mask), record);
}

void judge_loss_paths(const SuiteContext& context, judge::CaseRecord& record) {
  if (cases::skip_without_labels(context, record)) {
    return;
  }
  const cases::BackwardPlan plan{.inputs = context.inputs()};
  const cases::BackwardTrace run = cases::trace_backward(context.candidate(), plan);
  cases::judge_paths(context, "LM loss", run,
                     arrivals(context, plan, run, predicting_tokens(context.inputs())), record);
}

}  // namespace

std::vector<Case> path_cases() {
  return {
      {"gradients", "reach_the_parameters_they_should_and_no_others", judge_cotangent_paths},
      {"gradients", "of_the_lm_loss_never_reach_the_indexer", judge_loss_paths},
  };
}

}  // namespace sparity::suites::gradients
