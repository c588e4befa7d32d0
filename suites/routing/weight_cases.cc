#include "suites/routing/weight_cases.h"

#include "reference/model/router.h"
#include "src/ops/router.h"
#include "suites/routing/routing_inputs.h"

#include <functional>
#include <string>
#include <utility>

namespace sparity::suites::routing {

namespace {

using cases::Case;
using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

constexpr const char* kWeights = "mlp.gate.topk_weights";

/// What a case changes of the plain problem.
struct Variation {
  std::function<void(core::ModelConfig&)> config = [](core::ModelConfig&) {};
  std::function<void(TensorMap&)> inputs = [](TensorMap&) {};
};

core::ModelConfig config_of(const Variation& variation) {
  core::ModelConfig config = grouped_config();
  variation.config(config);
  return config;
}

/// {"scores", "bias", "indices"}: the reference's choice.
TensorMap weight_inputs(const SuiteContext& context, const Variation& variation) {
  const core::ModelConfig config = config_of(variation);
  TensorMap inputs = {{"scores", grid_scores(context, config, "routing.weighed")},
                      {"bias", grid_bias(context, config, -0.2)}};
  inputs["indices"] =
      reference::model::select_experts(inputs.at("scores"), inputs.at("bias"), config);
  variation.inputs(inputs);
  return inputs;
}

at::Tensor reference_weights(const SuiteContext& context, const TensorMap& in,
                             const core::ModelConfig& config) {
  return reference::model::expert_weights(in.at("scores"), in.at("indices"), config,
                                          context.options().recipe);
}

at::Tensor candidate_weights(const TensorMap& in, const core::ModelConfig& config) {
  return ops::routing_weights(in.at("scores"), in.at("indices"), in.at("bias"), config);
}

Case weight_case(const std::string& name, const Variation& variation) {
  return cases::op_case({
      .suite = "routing",
      .name = name,
      .inputs =
          [variation](const SuiteContext& context) { return weight_inputs(context, variation); },
      .reference =
          [variation](const SuiteContext& context, const TensorMap& in) {
            return Outputs{{kWeights, reference_weights(context, in, config_of(variation))}};
          },
      .candidate =
          [variation](const SuiteContext&, const TensorMap& in) {
            return Outputs{{kWeights, candidate_weights(in, config_of(variation))}};
          },
  });
}

Case sum_case() {
  return cases::op_case({
      .suite = "routing",
      .name = "normalised_weights_sum_to_routed_scaling_factor",
      .inputs = [](const SuiteContext& context) { return weight_inputs(context, {}); },
      .reference =
          [](const SuiteContext& context, const TensorMap& in) {
            const at::Tensor sum = reference_weights(context, in, grouped_config()).sum(-1);
            const bool truth = sum.scalar_type() == at::kDouble;
            // What the sum is by definition, not what the reference makes of it.
            return Outputs{
                {"sum of mlp.gate.topk_weights",
                 truth ? sum.new_full(sum.sizes(), grouped_config().routed_scaling_factor) : sum}};
          },
      .candidate =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{
                {"sum of mlp.gate.topk_weights", candidate_weights(in, grouped_config()).sum(-1)}};
          },
  });
}

/// One constant added to every bias. Scores, biases and the constant lie on a grid on which float32
/// adds exactly, so that no rounding may excuse a difference.
Case bias_shift_case() {
  return {"routing", "one_constant_added_to_every_bias_changes_no_bit",
          [](const SuiteContext& context, judge::CaseRecord& record) {
            const core::ModelConfig config = grouped_config();
            const at::Tensor scores = grid_scores(context, config, "routing.shifted");
            const at::Tensor bias = grid_bias(context, config, -0.2);
            const at::Tensor plain = ops::select_experts(scores, bias, config);
            for (const double constant : {8.0, -8.0}) {
              const at::Tensor shifted = bias.add(constant);
              const at::Tensor indices = ops::select_experts(scores, shifted, config);
              record.comparisons.push_back(
                  cases::compare_bits("mlp.gate.topk_indices", indices, plain));
              record.comparisons.push_back(cases::compare_bits(
                  kWeights, ops::routing_weights(scores, plain, shifted, config),
                  ops::routing_weights(scores, plain, bias, config)));
            }
          }};
}

/// Multiplies the tensor of that name.
std::function<void(TensorMap&)> scaled(const std::string& name, double factor) {
  return [=](TensorMap& in) { in.at(name) = in.at(name).mul(factor); };
}

}  // namespace

std::vector<Case> weight_cases() {
  return {
      weight_case("weights_of_the_chosen_experts", {}),
      weight_case("weights_ignore_biases_of_1e4", {.inputs = scaled("bias", 0x1p16)}),
      weight_case("weights_of_scores_near_1e_minus_6", {.inputs = scaled("scores", 0x1p-20)}),
      weight_case("weights_follow_the_order_of_the_indices",
                  {.inputs = [](TensorMap& in) { in.at("indices") = in.at("indices").flip(-1); }}),
      weight_case("weights_from_strided_inputs",
                  {.inputs =
                       [](TensorMap& in) {
                         for (const char* name : {"scores", "indices"}) {
                           in.at(name) = in.at(name).transpose(0, 1).contiguous().transpose(0, 1);
                         }
                       }}),
      weight_case("weights_that_are_not_normalised",
                  {.config = [](core::ModelConfig& c) { c.norm_topk_prob = false; }}),
      weight_case("weights_of_one_expert",
                  {.config = [](core::ModelConfig& c) { c.num_experts_per_tok = 1; }}),
      sum_case(),
      bias_shift_case(),
  };
}

}  // namespace sparity::suites::routing
