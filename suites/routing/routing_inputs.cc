#include "suites/routing/routing_inputs.h"

#include "src/tensors/at_dtype.h"

#include <ATen/ops/sigmoid.h>

#include <cmath>
#include <string>

namespace sparity::suites::routing {

namespace {

constexpr double kGrid = 4096;

}  // namespace

core::ModelConfig grouped_config() {
  core::ModelConfig config;
  config.n_routed_experts = 20;
  config.n_group = 5;
  config.topk_group = 2;
  config.num_experts_per_tok = 3;
  config.routed_scaling_factor = 2.5;
  return config;
}

at::Tensor grid_scores(const cases::SuiteContext& context, const core::ModelConfig& config,
                       std::string_view name) {
  const at::Tensor logits = context.normal(name, {2, 37, config.n_routed_experts});
  return at::sigmoid(logits.to(at::kDouble).mul(2))
      .mul(kGrid)
      .round()
      .clamp(1, kGrid - 1)
      .div(kGrid)
      .to(wide_type(context));
}

at::Tensor grid_bias(const cases::SuiteContext& context, const core::ModelConfig& config,
                     double centre) {
  return context.normal("routing.bias", {config.n_routed_experts})
      .to(at::kDouble)
      .mul(0.25)
      .add(centre)
      .mul(kGrid)
      .round()
      .div(kGrid)
      .to(wide_type(context));
}

at::ScalarType wide_type(const cases::SuiteContext& context) {
  return tensors::at_least_f32(context.activation());
}

Router router_of(const cases::SuiteContext& context) {
  const std::int64_t layer = context.first_moe_layer();
  if (layer >= 0) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".mlp.gate.";
    return {context.weights().at(prefix + "weight"),
            context.weights().at(prefix + "e_score_correction_bias")};
  }
  const core::ModelConfig& config = context.config();
  const double spread = 2.0 / std::sqrt(static_cast<double>(config.hidden_size));
  return {
      context.normal("routing.weight", {config.n_routed_experts, config.hidden_size}).mul(spread),
      grid_bias(context, config, -0.2)};
}

}  // namespace sparity::suites::routing
