#include "suites/routing/choice_cases.h"

#include "reference/model/router.h"
#include "src/ops/router.h"
#include "src/tensors/at_dtype.h"
#include "suites/routing/routing_inputs.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <functional>
#include <limits>
#include <string>
#include <utility>

namespace sparity::suites::routing {

namespace {

using cases::Case;
using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

/// Makes {"scores", "bias"} for a config.
using MakeScores = std::function<TensorMap(const SuiteContext&, const core::ModelConfig&)>;
using MakeConfig = std::function<core::ModelConfig(const SuiteContext&)>;

/// The same scores and bias in one dtype add to the same numbers: the choice must be the same, bit
/// for bit, ties included.
Case choice_case(const std::string& name, const MakeConfig& config_for, const MakeScores& make) {
  return cases::op_case({
      .suite = "routing",
      .name = name,
      .inputs = [=](const SuiteContext& context) { return make(context, config_for(context)); },
      .reference =
          [=](const SuiteContext& context, const TensorMap& in) {
            return Outputs{{"mlp.gate.topk_indices",
                            reference::model::select_experts(in.at("scores"), in.at("bias"),
                                                             config_for(context))}};
          },
      .candidate =
          [=](const SuiteContext& context, const TensorMap& in) {
            return Outputs{
                {"mlp.gate.topk_indices",
                 ops::select_experts(in.at("scores"), in.at("bias"), config_for(context))}};
          },
      .exact = {"mlp.gate.topk_indices"},
  });
}

core::ModelConfig grouped(const SuiteContext&) { return grouped_config(); }

Case grouped_case(const std::string& name, const MakeScores& make) {
  return choice_case(name, grouped, make);
}

MakeScores random_scores(double bias_centre) {
  return [bias_centre](const SuiteContext& context, const core::ModelConfig& config) {
    return TensorMap{{"scores", grid_scores(context, config, "routing.scores")},
                     {"bias", grid_bias(context, config, bias_centre)}};
  };
}

/// In each token one group holds the single best expert, another the two best together: the sum of
/// two decides.
TensorMap two_good_experts(const SuiteContext& context, const core::ModelConfig& config) {
  const std::int64_t experts = config.n_routed_experts;
  const std::int64_t size = experts / config.n_group;
  at::Tensor scores = at::full({1, config.n_group, experts}, 0.0625, wide_type(context));
  for (std::int64_t token = 0; token < config.n_group; ++token) {
    const auto member = [&](std::int64_t shift, std::int64_t place) {
      return ((token + shift) % config.n_group) * size + place;
    };
    scores[0][token][member(0, 1)] = 0.9375;
    for (const std::int64_t shift : {1, 2}) {
      scores[0][token][member(shift, 0)] = 0.625;
      scores[0][token][member(shift, size - 1)] = 0.625;
    }
  }
  return {{"scores", scores}, {"bias", at::zeros({experts}, wide_type(context))}};
}

TensorMap equal_scores(const SuiteContext& context, const core::ModelConfig& config) {
  return {{"scores", at::full({2, 3, config.n_routed_experts}, 0.5, wide_type(context))},
          {"bias", at::full({config.n_routed_experts}, -0.25, wide_type(context))}};
}

/// Few distinct values: ties of groups and of experts in most rows.
TensorMap coarse_scores(const SuiteContext& context, const core::ModelConfig& config) {
  return {{"scores", grid_scores(context, config, "routing.coarse").mul(4).round().div(4)},
          {"bias", grid_bias(context, config, -0.25).mul(2).round().div(2)}};
}

/// −0 equals +0: neither comes first but by its index.
TensorMap signed_zeros(const SuiteContext& context, const core::ModelConfig& config) {
  const at::Tensor sign =
      at::arange(config.n_routed_experts, at::kLong).remainder(2).mul(-2).add(1);
  const at::Tensor zeros = at::zeros({config.n_routed_experts}, wide_type(context)).mul(sign);
  return {{"scores", zeros.expand({2, 2, config.n_routed_experts}).contiguous()},
          {"bias", at::zeros({config.n_routed_experts}, wide_type(context)).neg()}};
}

TensorMap strided_scores(const SuiteContext& context, const core::ModelConfig& config) {
  TensorMap inputs = random_scores(-0.2)(context, config);
  inputs.at("scores") = inputs.at("scores").transpose(0, 2).contiguous().transpose(0, 2);
  return inputs;
}

TensorMap one_token(const SuiteContext& context, const core::ModelConfig& config) {
  TensorMap inputs = random_scores(-0.2)(context, config);
  inputs.at("scores") = inputs.at("scores").narrow(0, 1, 1).narrow(1, 5, 1);
  return inputs;
}

MakeConfig changed(const std::function<void(core::ModelConfig&)>& change) {
  return [change](const SuiteContext&) {
    core::ModelConfig config = grouped_config();
    change(config);
    return config;
  };
}

std::vector<Case> shape_cases() {
  const MakeScores scores = random_scores(-0.2);
  return {
      choice_case(
          "choice_as_the_model_is_configured",
          [](const SuiteContext& context) { return context.config(); }, scores),
      choice_case("choice_from_one_group", changed([](core::ModelConfig& c) {
                    c.n_group = 1;
                    c.topk_group = 1;
                  }),
                  scores),
      choice_case("choice_where_every_group_is_kept",
                  changed([](core::ModelConfig& c) { c.topk_group = c.n_group; }), scores),
      choice_case("choice_of_every_expert_in_the_kept_groups",
                  changed([](core::ModelConfig& c) { c.num_experts_per_tok = 8; }), scores),
      choice_case("choice_of_one_expert", changed([](core::ModelConfig& c) {
                    c.topk_group = 1;
                    c.num_experts_per_tok = 1;
                  }),
                  scores),
      choice_case("choice_from_groups_of_two", changed([](core::ModelConfig& c) {
                    c.n_group = 10;
                    c.topk_group = 3;
                  }),
                  scores),
  };
}

/// Two scores of every second token are not a number, and rank above all that are: the reference's
/// sort has them first, as the choice of keys has.
Case nan_case() {
  return {"routing", "scores_that_are_no_numbers_rank_first",
          [](const SuiteContext& context, judge::CaseRecord& record) {
            const core::ModelConfig config = grouped_config();
            const TensorMap in = random_scores(-0.2)(context, config);
            const at::Tensor scores = in.at("scores").clone();
            const at::Tensor rows = scores.flatten(0, 1);
            for (std::int64_t row = 0; row < rows.size(0); row += 2) {
              for (const std::int64_t expert : {row * 3, row * 5 + 1}) {
                rows[row][expert % config.n_routed_experts].fill_(
                    std::numeric_limits<double>::quiet_NaN());
              }
            }
            record.comparisons.push_back(cases::compare_bits(
                "mlp.gate.topk_indices", ops::select_experts(scores, in.at("bias"), config),
                reference::model::select_experts(scores, in.at("bias"), config)));
          }};
}

}  // namespace

std::vector<Case> choice_cases() {
  std::vector<Case> all = {
      grouped_case("two_good_experts_make_a_better_group_than_one", two_good_experts),
      grouped_case("all_negative_choices_stay_within_the_best_groups", random_scores(-3.0)),
      grouped_case("choice_with_biases_of_both_signs", random_scores(0.0)),
      grouped_case("equal_scores_go_to_the_lowest_indices", equal_scores),
      grouped_case("ties_of_groups_and_experts_go_to_the_lower_index", coarse_scores),
      grouped_case("signed_zeros_tie", signed_zeros),
      grouped_case("choice_from_strided_scores", strided_scores),
      grouped_case("choice_for_one_token", one_token),
  };
  all.push_back(nan_case());
  const std::vector<Case> shapes = shape_cases();
  all.insert(all.end(), shapes.begin(), shapes.end());
  return all;
}

}  // namespace sparity::suites::routing
