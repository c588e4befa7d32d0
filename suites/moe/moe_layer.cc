#include "suites/moe/moe_layer.h"

#include "src/core/philox.h"
#include "src/model/moe.h"
#include "src/tensors/recorder.h"
#include "suites/cases/skips.h"
#include "suites/cases/trace.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/unique_dim.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

namespace sparity::suites::moe {

namespace {

using cases::Case;
using cases::SuiteContext;
using cases::Trace;

/// A problem that the candidate is given in another form, and how its answer is read.
struct Transformed {
  at::Tensor x;
  model::Moe moe;
  /// Puts what the candidate traced into the plain problem's terms.
  std::function<void(Trace&)> undo = [](Trace&) {};
};

model::Moe candidate_moe(const SuiteContext& context) {
  return model::Moe::bind(context.weights(), first_moe_prefix(context), context.config());
}

Trace taken_from(const tensors::Recorder& recorder) {
  return {recorder.order(), recorder.captured()};
}

Trace candidate_trace(const SuiteContext& context, const Transformed& problem) {
  tensors::Recorder recorder({"*"});
  const tensors::Probe probe = tensors::Probe(&recorder).layer(context.first_moe_layer());
  const model::ForwardContext forward{
      .config = context.config(), .mask = ops::KeyMask(context.inputs()), .table = {}};
  model::LayerLosses losses;
  probe("mlp", problem.moe.forward(problem.x, forward, probe, losses));
  Trace trace = taken_from(recorder);
  problem.undo(trace);
  return trace;
}

Trace reference_trace(const SuiteContext& context, const at::Tensor& x, at::ScalarType type,
                      const cases::Forced& forced) {
  tensors::Recorder recorder({"*"});
  for (const auto& [name, value] : forced) {
    recorder.force(name, value);
  }
  const tensors::Probe probe = tensors::Probe(&recorder).layer(context.first_moe_layer());
  probe("mlp", sparity::reference::model::moe(x.to(type), reference_weights(context, type),
                                              context.config(), context.options().recipe,
                                              probe.scope("mlp")));
  return taken_from(recorder);
}

/// Every token of x is a token.
SuiteContext unpadded(const SuiteContext& context, const at::Tensor& x) {
  tensors::Inputs inputs;
  inputs.input_ids = at::zeros({x.size(0), x.size(1)}, at::kLong);
  inputs.token_mask = at::ones_like(inputs.input_ids, at::kBool);
  inputs.position_ids = inputs.input_ids;
  return context.with_inputs(std::move(inputs));
}

/// The candidate solves `problem`, the reference the plain one on x under the candidate's choices.
void judge_layer(const SuiteContext& context, const at::Tensor& x, const Transformed& problem,
                 judge::CaseRecord& record) {
  const Trace candidate = candidate_trace(context, problem);
  const cases::Forced chosen = cases::selections_of(candidate);
  const Trace baseline = reference_trace(context, x, context.activation(), chosen);
  const Trace truth = reference_trace(context, x, at::kDouble, chosen);
  const SuiteContext inner = unpadded(context, x);
  cases::judge_trace(inner, {candidate, baseline, truth}, {"*"}, record);
  cases::judge_selections(inner, {candidate, baseline, truth}, {"*"}, record);
}

at::Tensor hidden_states(const SuiteContext& context) {
  return context.normal("moe.layer.x", {2, 29, context.config().hidden_size});
}

/// A random order of 0 … size − 1.
std::vector<std::int64_t> shuffled(const SuiteContext& context, const std::string& name,
                                   std::int64_t size) {
  const core::RandomStream stream(context.options().seed, name);
  std::vector<std::int64_t> order(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::uint64_t at = stream.below(i, i + 1);
    order[i] = order[at];
    order[at] = static_cast<std::int64_t>(i);
  }
  return order;
}

/// Old numbers of the experts at their new places: groups change places, and experts within them.
std::vector<std::int64_t> expert_order(const SuiteContext& context) {
  const core::ModelConfig& config = context.config();
  const std::int64_t size = config.n_routed_experts / config.n_group;
  std::vector<std::int64_t> order;
  for (const std::int64_t group : shuffled(context, "moe.groups", config.n_group)) {
    for (const std::int64_t member :
         shuffled(context, "moe.members." + std::to_string(group), size)) {
      order.push_back(group * size + member);
    }
  }
  return order;
}

at::Tensor as_index(const std::vector<std::int64_t>& order) {
  at::Tensor index = at::zeros({std::ssize(order)}, at::kLong);
  std::ranges::copy(order, index.mutable_data_ptr<std::int64_t>());
  return index;
}

Transformed with_experts_permuted(const SuiteContext& context, const at::Tensor& x) {
  const std::vector<std::int64_t> order = expert_order(context);
  const at::Tensor index = as_index(order);
  const model::Moe plain = candidate_moe(context);
  model::Moe moe = plain;
  moe.gate_weight = plain.gate_weight.base.index_select(0, index);
  moe.e_score_correction_bias = plain.e_score_correction_bias.index_select(0, index);
  for (std::size_t place = 0; place < order.size(); ++place) {
    moe.experts[place] = plain.experts[static_cast<std::size_t>(order[place])];
  }
  const auto undo = [index](Trace& trace) {
    for (auto& [name, value] : trace.tensors) {
      if (name.ends_with("gate.scores")) {
        value = value.index_select(-1, index.argsort());
      } else if (name.ends_with("gate.topk_indices")) {
        value = index.index_select(0, value.reshape({-1})).view(value.sizes());
      }
    }
  };
  return {x, moe, undo};
}

Transformed with_tokens_permuted(const SuiteContext& context, const at::Tensor& x) {
  const at::Tensor index = as_index(shuffled(context, "moe.tokens", x.size(1)));
  const auto undo = [index](Trace& trace) {
    for (auto& [name, value] : trace.tensors) {
      value = value.index_select(1, index.argsort());
    }
  };
  return {x.index_select(1, index), candidate_moe(context), undo};
}

using Transform = std::function<Transformed(const SuiteContext&, const at::Tensor&)>;

Case layer_case(const std::string& name, const Transform& transform) {
  return needs_moe({"moe", name, [=](const SuiteContext& context, judge::CaseRecord& record) {
                      const at::Tensor x = hidden_states(context);
                      judge_layer(context, x, transform(context, x), record);
                    }});
}

/// The same case, skipped where two experts are one to the router: their ties are decided by their
/// numbers, which a permutation changes.
Case needs_different_experts(Case c) {
  c.run = [run = c.run](const SuiteContext& context, judge::CaseRecord& record) {
    const model::Moe moe = candidate_moe(context);
    const at::Tensor told_by =
        at::cat({moe.gate_weight.base, moe.e_score_correction_bias.unsqueeze(1)}, 1);
    if (std::get<0>(at::unique_dim(told_by, 0)).size(0) < told_by.size(0)) {
      cases::skip(record, "the router cannot tell two experts apart");
      return;
    }
    run(context, record);
  };
  return c;
}

}  // namespace

std::string first_moe_prefix(const SuiteContext& context) {
  return "model.layers." + std::to_string(context.first_moe_layer()) + ".mlp.";
}

sparity::reference::model::MoeWeights reference_weights(const SuiteContext& context,
                                                        at::ScalarType type) {
  const std::string prefix = first_moe_prefix(context);
  const auto take = [&](const std::string& name) {
    const at::Tensor& stored = context.weights().at(prefix + name);
    return type == at::kDouble ? stored.to(at::kDouble) : stored;
  };
  const auto take_mlp = [&](const std::string& name) {
    return sparity::reference::model::MlpWeights{.gate_proj = take(name + "gate_proj.weight"),
                                                 .up_proj = take(name + "up_proj.weight"),
                                                 .down_proj = take(name + "down_proj.weight")};
  };
  sparity::reference::model::MoeWeights weights{.gate_weight = take("gate.weight"),
                                                .gate_bias = take("gate.e_score_correction_bias"),
                                                .experts = {},
                                                .shared_experts = take_mlp("shared_experts.")};
  for (std::int64_t e = 0; e < context.config().n_routed_experts; ++e) {
    weights.experts.push_back(take_mlp("experts." + std::to_string(e) + "."));
  }
  return weights;
}

Case needs_moe(Case c) {
  c.run = [run = c.run](const SuiteContext& context, judge::CaseRecord& record) {
    if (!cases::skip_without_experts(context, record)) {
      run(context, record);
    }
  };
  return c;
}

std::vector<Case> layer_cases() {
  const Transform plain = [](const SuiteContext& context, const at::Tensor& x) {
    return Transformed{x, candidate_moe(context)};
  };
  return {
      layer_case("a_layer_agrees_from_router_to_output", plain),
      needs_moe(needs_different_experts(layer_case(
          "experts_permuted_with_their_router_rows_change_nothing", with_experts_permuted))),
      layer_case("tokens_permuted_are_outputs_permuted", with_tokens_permuted),
  };
}

}  // namespace sparity::suites::moe
