#include "suites/moe/moe_cases.h"

#include "reference/model/mlp.h"
#include "reference/model/moe.h"
#include "src/model/moe.h"
#include "src/ops/moe.h"
#include "src/tensors/at_dtype.h"
#include "suites/moe/moe_layer.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <functional>
#include <string>
#include <utility>

namespace sparity::suites {

namespace {

using cases::Case;
using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

namespace reference = sparity::reference::model;

constexpr std::int64_t kRows = 2;
constexpr std::int64_t kTokens = 29;

std::vector<ops::MlpWeights> candidate_experts(const SuiteContext& context) {
  return model::Moe::bind(context.weights(), moe::first_moe_prefix(context), context.config())
      .experts;
}

at::Tensor positive_weights(const SuiteContext& context, const std::string& name,
                            at::IntArrayRef shape) {
  return context.normal(name, shape).to(tensors::at_least_f32(context.activation())).abs().add(0.1);
}

// --- experts whose outputs are exact: what remains is how they are weighed and summed ------------

constexpr std::int64_t kExactExperts = 8;
constexpr std::int64_t kExactSlots = 6;
constexpr std::int64_t kExactWidth = 24;
/// silu(32) is 32 in float32, and a shift of the exponent.
constexpr double kGatePreactivation = 32;

/// Expert e gives out its input's channels rotated by e places, times a power of two: every product
/// and sum inside it is exact in bfloat16. The gate reads channel 0, which is always 32 and goes no
/// further: its products with weights would be exact and outweigh all others.
template <typename Mlp>
std::vector<Mlp> exact_experts(at::ScalarType type) {
  const at::Tensor identity = at::eye(kExactWidth, at::kDouble);
  at::Tensor up = identity.clone();
  up[0][0] = 0;
  at::Tensor gate = at::zeros({kExactWidth, kExactWidth}, at::kDouble);
  gate.select(1, 0).fill_(1);
  std::vector<Mlp> experts;
  for (std::int64_t e = 0; e < kExactExperts; ++e) {
    const double power = e % 3 == 0 ? 0.5 : (e % 3 == 1 ? 1.0 : 2.0);
    experts.push_back(Mlp{gate.to(type), up.roll(e, 0).mul(power).to(type),
                          identity.div(kGatePreactivation).to(type)});
  }
  return experts;
}

/// In bfloat16 the outputs of ordinary experts are rounded by far more than their sum is; here only
/// the sum's own rounding is left, and it has to be float32's (D-32).
Case exact_experts_case() {
  return cases::op_case({
      .suite = "moe",
      .name = "weighted_sums_of_exact_experts_are_float32_sums",
      .inputs =
          [](const SuiteContext& context) {
            at::Tensor x = context.normal("moe.exact.x", {kRows, kTokens, kExactWidth});
            x.select(-1, 0).fill_(kGatePreactivation);
            const std::vector<std::int64_t> shape = {kRows, kTokens, kExactSlots};
            const at::Tensor slots = at::arange(kRows * kTokens * kExactSlots, at::kLong);
            return TensorMap{{"x", x},
                             {"indices", slots.mul(5).remainder(kExactExperts).view(shape)},
                             {"weights", positive_weights(context, "moe.exact.weights", shape)}};
          },
      .reference =
          [](const SuiteContext& context, const TensorMap& in) {
            return Outputs{
                {"mlp.experts", reference::routed_experts(
                                    in.at("x"), in.at("indices"), in.at("weights"),
                                    exact_experts<reference::MlpWeights>(in.at("x").scalar_type()),
                                    context.options().recipe)}};
          },
      .candidate =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{
                {"mlp.experts",
                 ops::routed_experts(in.at("x"), {in.at("indices"), in.at("weights")},
                                     exact_experts<ops::MlpWeights>(in.at("x").scalar_type()))}};
          },
  });
}

// --- the model's own experts --------------------------------------------------------------------

using MakeIndices = std::function<at::Tensor(const SuiteContext&)>;

TensorMap routed_inputs(const SuiteContext& context, const MakeIndices& make_indices) {
  const at::Tensor indices = make_indices(context);
  return {{"x", context.normal("moe.x",
                               {indices.size(0), indices.size(1), context.config().hidden_size})},
          {"indices", indices},
          {"weights", positive_weights(context, "moe.weights", indices.sizes())}};
}

using RunExperts = std::function<at::Tensor(const at::Tensor& x, const ops::Routing& routing,
                                            const std::vector<ops::MlpWeights>& experts)>;

at::Tensor all_at_once(const at::Tensor& x, const ops::Routing& routing,
                       const std::vector<ops::MlpWeights>& experts) {
  return ops::routed_experts(x, routing, experts);
}

/// Each token in a call of its own.
at::Tensor one_by_one(const at::Tensor& x, const ops::Routing& routing,
                      const std::vector<ops::MlpWeights>& experts) {
  std::vector<at::Tensor> rows;
  for (std::int64_t b = 0; b < x.size(0); ++b) {
    std::vector<at::Tensor> tokens;
    for (std::int64_t s = 0; s < x.size(1); ++s) {
      const auto token = [&](const at::Tensor& value) {
        return value.narrow(0, b, 1).narrow(1, s, 1);
      };
      tokens.push_back(
          ops::routed_experts(token(x), {token(routing.indices), token(routing.weights)}, experts));
    }
    rows.push_back(at::cat(tokens, 1));
  }
  return at::cat(rows, 0);
}

/// A tensor laid out the other way round in memory.
at::Tensor strided(const at::Tensor& value) {
  return value.transpose(0, 2).contiguous().transpose(0, 2);
}

at::Tensor from_strided_inputs(const at::Tensor& x, const ops::Routing& routing,
                               const std::vector<ops::MlpWeights>& experts) {
  return ops::routed_experts(strided(x), {strided(routing.indices), strided(routing.weights)},
                             experts);
}

Case routed_case(const std::string& name, const MakeIndices& make_indices, const RunExperts& run) {
  return moe::needs_moe(cases::op_case({
      .suite = "moe",
      .name = name,
      .inputs = [=](const SuiteContext& context) { return routed_inputs(context, make_indices); },
      .reference =
          [](const SuiteContext& context, const TensorMap& in) {
            const reference::MoeWeights weights =
                moe::reference_weights(context, in.at("x").scalar_type());
            return Outputs{{"mlp.experts", reference::routed_experts(
                                               in.at("x"), in.at("indices"), in.at("weights"),
                                               weights.experts, context.options().recipe)}};
          },
      .candidate =
          [run](const SuiteContext& context, const TensorMap& in) {
            return Outputs{{"mlp.experts", run(in.at("x"), {in.at("indices"), in.at("weights")},
                                               candidate_experts(context))}};
          },
      .exact = {},
      .from_rounded = {"mlp.experts"},
  }));
}

/// Slot k of token n goes to expert (5n + k) mod E: as even as can be.
at::Tensor spread(const SuiteContext& context) {
  const core::ModelConfig& config = context.config();
  const at::Tensor token = at::arange(kRows * kTokens, at::kLong).mul(5).unsqueeze(1);
  const at::Tensor slot = at::arange(config.num_experts_per_tok, at::kLong).unsqueeze(0);
  return token.add(slot)
      .remainder(config.n_routed_experts)
      .view({kRows, kTokens, config.num_experts_per_tok});
}

/// Every token goes to the first experts, but one, whose first slot goes to the last expert.
at::Tensor crowded(const SuiteContext& context) {
  const core::ModelConfig& config = context.config();
  at::Tensor indices = at::arange(config.num_experts_per_tok, at::kLong)
                           .expand({kRows, kTokens, config.num_experts_per_tok})
                           .clone();
  indices[1][7][0] = config.n_routed_experts - 1;
  return indices;
}

Case crowded_case() {
  Case c = routed_case("experts_with_all_tokens_one_token_and_none", crowded, all_at_once);
  c.run = [run = c.run](const SuiteContext& context, judge::CaseRecord& record) {
    run(context, record);
    if (record.verdict == judge::Verdict::kSkip) {
      return;
    }
    const at::Tensor load =
        at::bincount(crowded(context).flatten(), {}, context.config().n_routed_experts);
    const auto idle = load.eq(0).sum().item<std::int64_t>();
    const auto largest = load.max().item<std::int64_t>();
    const std::string detail =
        fmt::format("{} experts without a token; the largest load is {}", idle, largest);
    record.conditions.push_back({.name = "an expert without a token and one with many",
                                 .exercised = idle > 0 && largest >= kTokens,
                                 .required = context.options().embedded,
                                 .detail = detail});
  };
  return c;
}

/// Tokens of an expert are multiplied 64 at a time: here 128, 65, 63, 64 and 64 of them.
at::Tensor around_a_tile(const SuiteContext& context) {
  constexpr std::int64_t kTile = 64;
  const at::Tensor token = at::arange(2 * kTile, at::kLong);
  const at::Tensor second = token.gt(kTile).to(at::kLong).add(1);  // 1 of 65 tokens, 2 of 63
  const at::Tensor third = token.ge(kTile).to(at::kLong).add(3);
  return at::stack({at::zeros_like(token), second, third}, 1)
      .remainder(context.config().n_routed_experts)
      .view({kRows, kTile, 3});
}

/// Doubling is exact in every step, so the sum must double to the last bit.
Case doubled_weights_case() {
  return moe::needs_moe({"moe", "doubled_weights_double_every_bit",
                         [](const SuiteContext& context, judge::CaseRecord& record) {
                           const TensorMap in = routed_inputs(context, spread);
                           const std::vector<ops::MlpWeights> experts = candidate_experts(context);
                           const auto sum = [&](double factor) {
                             return ops::routed_experts(
                                 in.at("x"), {in.at("indices"), in.at("weights").mul(factor)},
                                 experts);
                           };
                           record.comparisons.push_back(
                               cases::compare_bits("mlp.experts", sum(2.0), sum(1.0).mul(2.0)));
                         }});
}

Case shared_case(const std::string& name, double scale) {
  return moe::needs_moe(cases::op_case({
      .suite = "moe",
      .name = name,
      .inputs =
          [scale](const SuiteContext& context) {
            const at::Tensor x =
                context.normal("moe.shared.x", {kRows, kTokens, context.config().hidden_size});
            return TensorMap{{"x", x.mul(scale)}};
          },
      .reference =
          [](const SuiteContext& context, const TensorMap& in) {
            const reference::MoeWeights weights =
                moe::reference_weights(context, in.at("x").scalar_type());
            return Outputs{{"mlp.shared_experts", reference::mlp(in.at("x"), weights.shared_experts,
                                                                 context.options().recipe)}};
          },
      .candidate =
          [](const SuiteContext& context, const TensorMap& in) {
            const ops::MlpWeights weights = model::bind_mlp(
                context.weights(), moe::first_moe_prefix(context) + "shared_experts.");
            return Outputs{{"mlp.shared_experts", ops::mlp(in.at("x"), weights)}};
          },
  }));
}

}  // namespace

std::vector<Case> moe_cases() {
  std::vector<Case> all = {
      exact_experts_case(),
      routed_case("tokens_spread_over_the_experts", spread, all_at_once),
      routed_case("tokens_one_by_one", spread, one_by_one),
      routed_case("strided_tokens_and_routing", spread, from_strided_inputs),
      crowded_case(),
      routed_case("experts_with_63_64_65_and_128_tokens", around_a_tile, all_at_once),
      doubled_weights_case(),
      shared_case("shared_experts", 1.0),
      shared_case("shared_experts_of_large_rows", 300.0),
      shared_case("shared_experts_of_small_rows", 1e-3),
  };
  const std::vector<Case> layer = moe::layer_cases();
  all.insert(all.end(), layer.begin(), layer.end());
  return all;
}

}  // namespace sparity::suites
