#include "suites/norm/norm_cases.h"

#include "reference/model/norm.h"
#include "src/ops/norm.h"

#include <utility>

namespace sparity::suites {

namespace {

using cases::OpClaim;
using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

namespace reference = sparity::reference::model;

at::Tensor gain_of(const SuiteContext& context) {
  return context.weights().at("model.layers.0.input_layernorm.weight");
}

/// RMSNorm of x [2, 29, D] with a spread of `scale`.
cases::Case rms_norm_case(const std::string& name, double scale) {
  return cases::op_case({
      .suite = "norm",
      .name = name,
      .inputs =
          [scale](const SuiteContext& context) {
            const at::Tensor x = context.normal("norm.x", {2, 29, context.config().hidden_size});
            return TensorMap{{"x", x.mul(scale)}, {"gain", gain_of(context)}};
          },
      .reference =
          [](const SuiteContext& context, const TensorMap& in) {
            return Outputs{{"rms_norm", reference::rms_norm(in.at("x"), in.at("gain"),
                                                            context.config().rms_norm_eps,
                                                            context.options().recipe)}};
          },
      .candidate =
          [](const SuiteContext& context, const TensorMap& in) {
            return Outputs{{"rms_norm", ops::rms_norm(in.at("x"), in.at("gain"),
                                                      context.config().rms_norm_eps)}};
          },
  });
}

cases::Case add_rms_norm_case() {
  return cases::op_case({
      .suite = "norm",
      .name = "add_rms_norm",
      .inputs =
          [](const SuiteContext& context) {
            const std::int64_t hidden = context.config().hidden_size;
            return TensorMap{{"x", context.normal("norm.x", {2, 29, hidden})},
                             {"residual", context.normal("norm.residual", {2, 29, hidden}).mul(3)},
                             {"gain", gain_of(context)}};
          },
      .reference =
          [](const SuiteContext& context, const TensorMap& in) {
            auto result =
                reference::add_rms_norm(in.at("x"), in.at("residual"), in.at("gain"),
                                        context.config().rms_norm_eps, context.options().recipe);
            return Outputs{{"normed", result.normed}, {"residual", result.residual}};
          },
      .candidate =
          [](const SuiteContext& context, const TensorMap& in) {
            auto result = ops::add_rms_norm(in.at("x"), in.at("residual"), in.at("gain"),
                                            context.config().rms_norm_eps);
            return Outputs{{"normed", result.normed}, {"residual", result.residual}};
          },
  });
}

/// Keys whose variance is near epsilon show which epsilon is added (D-05).
cases::Case layer_norm_case(const std::string& name, double scale) {
  return cases::op_case({
      .suite = "norm",
      .name = name,
      .inputs =
          [scale](const SuiteContext& context) {
            const std::string prefix = "model.layers.0.self_attn.indexer.k_norm.";
            const at::Tensor x = context.normal("norm.k", {2, 29, context.config().index_head_dim});
            return TensorMap{{"x", x.add(0.5).mul(scale)},
                             {"gain", context.weights().at(prefix + "weight")},
                             {"bias", context.weights().at(prefix + "bias")}};
          },
      .reference =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{{"layer_norm",
                            reference::layer_norm(in.at("x"), in.at("gain"), in.at("bias"), 1e-6)}};
          },
      .candidate =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{
                {"layer_norm", ops::layer_norm(in.at("x"), in.at("gain"), in.at("bias"), 1e-6)}};
          },
  });
}

}  // namespace

std::vector<cases::Case> norm_cases() {
  return {
      rms_norm_case("rms_norm", 1.0),
      rms_norm_case("rms_norm_of_small_rows", 1e-3),
      rms_norm_case("rms_norm_of_large_rows", 1e4),
      add_rms_norm_case(),
      layer_norm_case("layer_norm", 1.0),
      layer_norm_case("layer_norm_of_small_rows", 1e-3),
  };
}

}  // namespace sparity::suites
