#include "suites/routing/route_cases.h"

#include "reference/model/router.h"
#include "reference/scalar/router.h"
#include "src/ops/router.h"
#include "src/tensors/recorder.h"
#include "suites/judge/grouped_selection.h"
#include "suites/routing/routing_inputs.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <utility>

namespace sparity::suites::routing {

namespace {

namespace scalar = sparity::reference::scalar;

using cases::Case;
using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

constexpr std::int64_t kTokens = 29;

TensorMap hidden_and_router(const SuiteContext& context, double scale) {
  const Router router = router_of(context);
  const at::Tensor x = context.normal("routing.x", {2, kTokens, context.config().hidden_size});
  return {{"x", x.mul(scale)}, {"weight", router.weight}, {"bias", router.bias}};
}

Case score_case(const std::string& name, double scale, bool strided) {
  return cases::op_case({
      .suite = "routing",
      .name = name,
      .inputs =
          [=](const SuiteContext& context) {
            TensorMap inputs = hidden_and_router(context, scale);
            if (strided) {
              inputs.at("x") = inputs.at("x").transpose(0, 2).contiguous().transpose(0, 2);
            }
            return inputs;
          },
      .reference =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{
                {"mlp.gate.scores", reference::model::router_scores(in.at("x"), in.at("weight"))}};
          },
      .candidate =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{{"mlp.gate.scores", ops::routing_scores(in.at("x"), in.at("weight"))}};
          },
  });
}

/// The router of a model, three sides, the reference under the candidate's choice.
struct RoutedSides {
  ops::Routing candidate;
  at::Tensor candidate_scores;
  reference::model::Routing baseline;
  reference::model::Routing truth;
  at::Tensor bias;
};

reference::model::Routing reference_route(const SuiteContext& context, const TensorMap& in,
                                          at::ScalarType type, const at::Tensor& indices) {
  tensors::Recorder forcing;
  forcing.force("topk_indices", indices);
  return reference::model::route(in.at("x").to(type), in.at("weight").to(type),
                                 in.at("bias").to(type == at::kDouble ? type : at::kFloat),
                                 context.config(), context.options().recipe,
                                 tensors::Probe(&forcing));
}

RoutedSides route_sides(const SuiteContext& context) {
  const TensorMap in = hidden_and_router(context, 1.0);
  tensors::Recorder recorder({"scores"});
  RoutedSides sides;
  sides.bias = in.at("bias");
  sides.candidate = ops::route(in.at("x"), in.at("weight"), in.at("bias"), context.config(),
                               tensors::Probe(&recorder));
  sides.candidate_scores = recorder.captured().at("scores");
  const at::Tensor& chosen = sides.candidate.indices;
  sides.baseline = reference_route(context, in, context.activation(), chosen);
  sides.truth = reference_route(context, in, at::kDouble, chosen);
  return sides;
}

judge::Comparison compare_sides(const SuiteContext& context, const std::string& name,
                                const at::Tensor& candidate, const at::Tensor& baseline,
                                const at::Tensor& truth) {
  judge::TensorClaim claim;
  claim.tensor = name;
  claim.reduction_length = context.reduction_length();
  const judge::Tensor honest = cases::judged(baseline);
  return judge::compare(claim, cases::judged(candidate), &honest, cases::judged(truth));
}

judge::Tensor choice_scores(const at::Tensor& scores, const at::Tensor& bias) {
  return cases::judged(scores.add(bias.to(scores.scalar_type())));
}

void judge_choice(const SuiteContext& context, const RoutedSides& sides,
                  judge::CaseRecord& record) {
  const core::ModelConfig& config = context.config();
  const judge::Tensor own = choice_scores(sides.candidate_scores, sides.bias);
  const judge::Tensor own_indices = cases::judged(sides.candidate.indices);
  const judge::Tensor honest = choice_scores(sides.baseline.scores, sides.bias);
  const judge::GroupedClaim claim{.tensor = "mlp.gate.topk_indices",
                                  .groups = config.n_group,
                                  .kept_groups = config.topk_group,
                                  .k = config.num_experts_per_tok,
                                  .reduction_length = config.hidden_size};
  const judge::GroupedResult result =
      judge::compare_grouped_selection(claim, {&own, &own_indices}, {&honest, nullptr},
                                       choice_scores(sides.truth.scores, sides.bias));
  for (const judge::SelectionResult* stage : {&result.groups, &result.experts}) {
    record.comparisons.push_back(stage->comparison);
    record.selections.push_back(stage->summary);
  }
}

/// The most groups that one token's experts lie in.
std::int64_t most_groups(const at::Tensor& indices, const core::ModelConfig& config) {
  const std::int64_t size = config.n_routed_experts / config.n_group;
  const judge::Tensor chosen = cases::judged(indices);
  std::size_t most = 0;
  for (std::size_t row = 0; row < chosen.rows(); ++row) {
    std::set<std::int64_t> groups;
    for (const double expert : chosen.row(row)) {
      groups.insert(static_cast<std::int64_t>(expert) / size);
    }
    most = std::max(most, groups.size());
  }
  return static_cast<std::int64_t>(most);
}

void add_conditions(const SuiteContext& context, const RoutedSides& sides,
                    judge::CaseRecord& record) {
  const core::ModelConfig& config = context.config();
  const bool required = context.options().embedded;
  record.conditions.push_back(
      {.name = "topk_group < n_group",
       .exercised = config.topk_group < config.n_group,
       .required = required,
       .detail = fmt::format("{} of {} groups", config.topk_group, config.n_group)});
  const at::Tensor choices = sides.truth.scores.add(sides.bias.to(at::kDouble));
  const auto negative = choices.lt(0).sum().item<std::int64_t>();
  record.conditions.push_back({.name = "some biased router scores are negative",
                               .exercised = negative > 0,
                               .required = required,
                               .detail = fmt::format("{} of {}", negative, choices.numel())});
}

Case route_case() {
  return {"routing", "route_agrees_from_hidden_state_to_weights",
          [](const SuiteContext& context, judge::CaseRecord& record) {
            const core::ModelConfig& config = context.config();
            const RoutedSides sides = route_sides(context);
            record.comparisons.push_back(compare_sides(context, "mlp.gate.scores",
                                                       sides.candidate_scores,
                                                       sides.baseline.scores, sides.truth.scores));
            judge_choice(context, sides, record);
            record.comparisons.push_back(
                compare_sides(context, "mlp.gate.topk_weights", sides.candidate.weights,
                              sides.baseline.weights, sides.truth.weights));
            const std::int64_t groups = most_groups(sides.candidate.indices, config);
            record.comparisons.push_back(cases::claim_holds(
                "groups of mlp.gate.topk_indices", groups <= config.topk_group,
                fmt::format("a token's experts lie in at most {} groups, topk_group is {}", groups,
                            config.topk_group)));
            add_conditions(context, sides, record);
          }};
}

/// Whatever choice the probe puts in place, the weights belong to it.
Case forced_case() {
  const auto forced_choice = [](const SuiteContext& context) {
    const core::ModelConfig& config = context.config();
    at::Tensor indices = at::empty({2, kTokens, config.num_experts_per_tok}, at::kLong);
    auto* out = indices.mutable_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < indices.numel(); ++i) {
      const std::int64_t token = i / config.num_experts_per_tok;
      out[i] = (token + i % config.num_experts_per_tok) % config.n_routed_experts;
    }
    return indices;
  };
  return cases::op_case({
      .suite = "routing",
      .name = "a_forced_choice_decides_the_weights",
      .inputs =
          [=](const SuiteContext& context) {
            TensorMap inputs = hidden_and_router(context, 1.0);
            inputs["indices"] = forced_choice(context);
            return inputs;
          },
      .reference =
          [](const SuiteContext& context, const TensorMap& in) {
            return Outputs{
                {"mlp.gate.topk_weights",
                 reference_route(context, in, in.at("x").scalar_type(), in.at("indices")).weights}};
          },
      .candidate =
          [](const SuiteContext& context, const TensorMap& in) {
            tensors::Recorder forcing;
            forcing.force("topk_indices", in.at("indices"));
            return Outputs{
                {"mlp.gate.topk_weights", ops::route(in.at("x"), in.at("weight"), in.at("bias"),
                                                     context.config(), tensors::Probe(&forcing))
                                              .weights}};
          },
  });
}

/// Margins that no rounding reaches: token n is the n-th unit vector, so its logits are column n of
/// the router matrix, a permutation of 1/16 + {−10 … 9}/4, and biases are integers. Two experts'
/// biased scores then differ by at least 0.02 and two groups' by 8e-5 (every pair enumerated); the
/// sixteenth keeps sigmoid(a) + sigmoid(−a) = 1 from tying groups.
TensorMap separated_logits(const SuiteContext& context) {
  const core::ModelConfig config = grouped_config();
  const std::int64_t experts = config.n_routed_experts;
  constexpr std::int64_t kUnits = 24;
  const at::Tensor ranks =
      context.normal("routing.ranks", {kUnits, experts}).argsort(true, -1).argsort(true, -1);
  const at::Tensor logits =
      ranks.to(at::kDouble).sub(0.5 * static_cast<double>(experts)).div(4).add(0.0625);
  return {{"x", at::eye(kUnits, at::kDouble).unsqueeze(0).to(context.activation())},
          {"weight", logits.t().contiguous().to(context.activation())},
          {"bias", grid_bias(context, config, -0.4).mul(4).round().clamp(-3, 0)}};
}

Outputs scalar_route(const TensorMap& in) {
  const core::ModelConfig config = grouped_config();
  const scalar::RouterRule rule{
      .n_group = static_cast<std::size_t>(config.n_group),
      .topk_group = static_cast<std::size_t>(config.topk_group),
      .num_experts_per_tok = static_cast<std::size_t>(config.num_experts_per_tok),
      .norm_topk_prob = config.norm_topk_prob,
      .routed_scaling_factor = config.routed_scaling_factor};
  const judge::Tensor logits = cases::judged(in.at("weight").t());
  const judge::Tensor bias = cases::judged(in.at("bias"));
  const auto tokens = static_cast<std::int64_t>(logits.rows());
  at::Tensor indices = at::empty({1, tokens, config.num_experts_per_tok}, at::kLong);
  at::Tensor weights = at::empty(indices.sizes(), at::kDouble);
  for (std::size_t token = 0; token < logits.rows(); ++token) {
    const scalar::TokenRouting routing = scalar::route(logits.row(token), bias.values, rule);
    const std::size_t first = token * routing.indices.size();
    std::ranges::copy(routing.indices, indices.mutable_data_ptr<std::int64_t>() + first);
    std::ranges::copy(routing.weights, weights.mutable_data_ptr<double>() + first);
  }
  return {{"mlp.gate.topk_indices", indices}, {"mlp.gate.topk_weights", weights}};
}

/// Choices, and the truth's weights, are the scalar loops'.
Outputs separated_reference(const SuiteContext& context, const TensorMap& in) {
  Outputs routing = scalar_route(in);
  if (in.at("x").scalar_type() != at::kDouble) {
    routing.back().second = reference::model::route(in.at("x"), in.at("weight"), in.at("bias"),
                                                    grouped_config(), context.options().recipe)
                                .weights;
  }
  return routing;
}

Case scalar_case() {
  return cases::op_case({
      .suite = "routing",
      .name = "separated_logits_route_as_scalar_loops_do",
      .inputs = separated_logits,
      .reference = separated_reference,
      .candidate =
          [](const SuiteContext&, const TensorMap& in) {
            const ops::Routing routing =
                ops::route(in.at("x"), in.at("weight"), in.at("bias"), grouped_config(), {});
            return Outputs{{"mlp.gate.topk_indices", routing.indices},
                           {"mlp.gate.topk_weights", routing.weights}};
          },
  });
}

}  // namespace

std::vector<Case> route_cases() {
  return {
      score_case("scores_are_the_sigmoid_of_wide_logits", 1.0, false),
      score_case("scores_of_large_rows_saturate_alike", 30.0, false),
      score_case("scores_of_small_rows", 1e-3, false),
      score_case("scores_of_strided_rows", 1.0, true),
      route_case(),
      forced_case(),
      scalar_case(),
  };
}

}  // namespace sparity::suites::routing
