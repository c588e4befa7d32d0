#include "suites/indexer/indexer_cases.h"

#include "reference/model/indexer.h"
#include "reference/model/mask.h"
#include "reference/scalar/indexer.h"
#include "src/model/mla.h"
#include "src/tensors/at_dtype.h"
#include "src/tensors/recorder.h"
#include "suites/attention/masked_rows.h"
#include "suites/indexer/hadamard_cases.h"
#include "suites/selection/key_choice.h"

#include <ATen/ops/full.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <limits>
#include <span>
#include <utility>

namespace sparity::suites {

namespace {

using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

namespace reference = sparity::reference::model;
namespace scalar = sparity::reference::scalar;

constexpr std::int64_t kTokens = 37;

tensors::Inputs rows() { return masked_rows({kTokens, 24}, kTokens); }

/// A layer input, a query latent, and the indexer of layer 0.
TensorMap layer_zero_inputs(const SuiteContext& context) {
  const core::ModelConfig& config = context.config();
  const std::string prefix = "model.layers.0.self_attn.indexer.";
  const tensors::WeightStore& weights = context.weights();
  return {{"x", context.normal("indexer.x", {2, kTokens, config.hidden_size})},
          {"q_latent", context.normal("indexer.q_latent", {2, kTokens, config.q_lora_rank})},
          {"wq_b", weights.at(prefix + "wq_b.weight")},
          {"wk", weights.at(prefix + "wk.weight")},
          {"k_norm_weight", weights.at(prefix + "k_norm.weight")},
          {"k_norm_bias", weights.at(prefix + "k_norm.bias")},
          {"weights_proj", weights.at(prefix + "weights_proj.weight")}};
}

Outputs run_reference(const SuiteContext& context, const TensorMap& in) {
  const tensors::Inputs inputs = rows();
  const reference::IndexerWeights weights{.wq_b = in.at("wq_b"),
                                          .wk = in.at("wk"),
                                          .k_norm_weight = in.at("k_norm_weight"),
                                          .k_norm_bias = in.at("k_norm_bias"),
                                          .weights_proj = in.at("weights_proj")};
  const reference::RotaryTable table = reference::rotary_table(
      context.config(), inputs.position_ids, in.at("x").scalar_type(), context.options().recipe);
  const at::Tensor q = reference::index_queries(in.at("q_latent"), weights, table);
  const at::Tensor k = reference::index_keys(in.at("x"), weights, table);
  const at::Tensor w = reference::index_weights(in.at("x"), weights, context.options().recipe);
  return {{"indexer.q", q},
          {"indexer.k", k},
          {"indexer.weights", w},
          {"indexer.scores", reference::index_scores(q, k, w, reference::valid_pairs(inputs))}};
}

Outputs run_candidate(const SuiteContext& context, const TensorMap& in, bool hadamard) {
  const tensors::Inputs inputs = rows();
  const model::Indexer indexer{.wq_b = in.at("wq_b"),
                               .wk = in.at("wk"),
                               .k_norm_weight = in.at("k_norm_weight"),
                               .k_norm_bias = in.at("k_norm_bias"),
                               .weights_proj = in.at("weights_proj")};
  const ops::KeyMask mask(inputs);
  const ops::RotaryTable table =
      ops::rotary_table(context.config(), inputs.position_ids, in.at("x").scalar_type());
  const model::ForwardContext forward{
      .config = context.config(), .hadamard = hadamard, .mask = mask, .table = table};
  tensors::Recorder recorder({"*"});
  const tensors::Probe probe = tensors::Probe(&recorder).scope("indexer");
  model::Indexer::select(indexer.operands(in.at("x"), in.at("q_latent"), forward, probe), forward,
                         probe);
  Outputs outputs;
  for (const char* name : {"indexer.q", "indexer.k", "indexer.weights", "indexer.scores"}) {
    outputs.emplace_back(name, recorder.captured().at(name));
  }
  return outputs;
}

Outputs scores_only(const Outputs& outputs) { return {outputs.back()}; }

/// Both signs of a tensor, or the case claims nothing about ReLU or signed weights.
judge::Condition both_signs(const SuiteContext& context, const std::string& name,
                            const at::Tensor& values) {
  const bool both = values.lt(0).any().item<bool>() && values.gt(0).any().item<bool>();
  return {.name = name,
          .exercised = both,
          .required = context.options().embedded,
          .detail = both ? "both signs occur" : "one sign only"};
}

/// The whole chain, each intermediate judged.
cases::Case chain_case(const std::string& name, double spread) {
  const auto make = [spread](const SuiteContext& context) {
    TensorMap in = layer_zero_inputs(context);
    in["x"] = in.at("x").mul(spread);
    return in;
  };
  cases::Case chain = cases::op_case({
      .suite = "indexer",
      .name = name,
      .inputs = make,
      .reference = run_reference,
      .candidate = [](const SuiteContext& context,
                      const TensorMap& in) { return run_candidate(context, in, false); },
      .from_rounded = {"indexer.scores"},
  });
  chain.run = [run = std::move(chain.run), make](const SuiteContext& context,
                                                 judge::CaseRecord& record) {
    run(context, record);
    const Outputs made = run_reference(context, make(context));
    const at::Tensor wide_q = made[0].second.to(at::kDouble);
    const at::Tensor wide_k = made[1].second.to(at::kDouble);
    record.conditions.push_back(
        both_signs(context, "index head weights of both signs", made[2].second));
    record.conditions.push_back(both_signs(context, "index products of both signs",
                                           wide_q.flatten(1, 2).matmul(wide_k.transpose(1, 2))));
  };
  return chain;
}

/// A relation of the scores: the candidate solves a changed problem, whose scores `map_back` turns
/// into those of the plain one.
cases::Case relation_case(const std::string& name, std::function<TensorMap(TensorMap)> change,
                          std::function<at::Tensor(const at::Tensor&)> map_back, bool hadamard) {
  return cases::op_case({
      .suite = "indexer",
      .name = name,
      .inputs = layer_zero_inputs,
      .reference = [](const SuiteContext& context,
                      const TensorMap& in) { return scores_only(run_reference(context, in)); },
      .candidate =
          [change, map_back, hadamard](const SuiteContext& context, const TensorMap& in) {
            Outputs scores = scores_only(run_candidate(context, change(in), hadamard));
            scores.back().second = map_back(scores.back().second);
            return scores;
          },
      .from_rounded = {"indexer.scores"},
  });
}

at::Tensor unchanged(const at::Tensor& scores) { return scores; }

/// Negated scores, with masked keys masked again.
at::Tensor negated(const at::Tensor& scores) {
  return scores.neg().masked_fill(scores.isinf(), -std::numeric_limits<double>::infinity());
}

TensorMap with_negated_weights(TensorMap in) {
  in["weights_proj"] = in.at("weights_proj").neg();
  return in;
}

/// One head's queries four times as long and its weight a quarter: powers of two, so that no other
/// rounding enters.
TensorMap with_one_head_rescaled(TensorMap in) {
  const std::int64_t head = in.at("weights_proj").size(0) / 2;
  const std::int64_t dim = in.at("wk").size(0);
  at::Tensor wq_b = in.at("wq_b").clone();
  wq_b.narrow(0, head * dim, dim).mul_(4);
  at::Tensor weights_proj = in.at("weights_proj").clone();
  weights_proj.select(0, head).div_(4);
  in["wq_b"] = wq_b;
  in["weights_proj"] = weights_proj;
  return in;
}

/// Heads in another order, queries and weights alike.
TensorMap with_heads_reversed(TensorMap in) {
  const std::int64_t dim = in.at("wk").size(0);
  in["wq_b"] = in.at("wq_b").unflatten(0, {-1, dim}).flip(0).flatten(0, 1);
  in["weights_proj"] = in.at("weights_proj").flip(0);
  return in;
}

cases::Case hadamard_relation_case() {
  cases::Case relation = relation_case(
      "scores_after_hadamard_equal_scores_without", [](TensorMap in) { return in; }, unchanged,
      true);
  relation.run = [run = std::move(relation.run)](const SuiteContext& context,
                                                 judge::CaseRecord& record) {
    if (hadamard_applies(context, record)) {
      run(context, record);
    }
  };
  return relation;
}

/// Truth by plain loops, from operands that all sides are given alike.
at::Tensor scores_by_loops(const TensorMap& in, const tensors::Inputs& inputs) {
  const at::Tensor q = in.at("q").contiguous();
  const at::Tensor k = in.at("k").contiguous();
  const at::Tensor w = in.at("w").contiguous();
  const at::Tensor valid = reference::valid_pairs(inputs).contiguous();
  const auto heads = static_cast<std::size_t>(q.size(2));
  const auto dim = static_cast<std::size_t>(q.size(3));
  const std::int64_t tokens = k.size(1);
  at::Tensor scores =
      at::full(valid.sizes(), -std::numeric_limits<double>::infinity(), at::kDouble);
  auto* out = scores.mutable_data_ptr<double>();
  const bool* visible = valid.const_data_ptr<bool>();
  for (std::int64_t query = 0; query < q.size(0) * q.size(1); ++query) {
    const double* query_heads = q.const_data_ptr<double>() + query * q.size(2) * q.size(3);
    const double* head_weights = w.const_data_ptr<double>() + query * q.size(2);
    for (std::int64_t key = 0; key < tokens; ++key) {
      const std::int64_t row = query / q.size(1) * tokens + key;
      if (visible[query * tokens + key]) {
        out[query * tokens + key] = scalar::index_score(
            {query_heads, heads * dim}, {k.const_data_ptr<double>() + row * k.size(2), dim},
            {head_weights, heads});
      }
    }
  }
  return scores;
}

/// Scores of operands of awkward sizes, in every size of number.
cases::Case loops_case(const std::string& name, double spread) {
  return cases::op_case({
      .suite = "indexer",
      .name = name,
      .inputs =
          [spread](const SuiteContext& context) {
            const at::ScalarType wide = tensors::at_least_f32(context.activation());
            return TensorMap{
                {"q", context.normal("indexer.q", {2, 7, 41, 9}).transpose(1, 2).mul(spread)},
                {"k", context.normal("indexer.k", {2, 41, 12}).narrow(-1, 2, 9).mul(spread)},
                {"w", context.normal("indexer.w", {2, 41, 7}).to(wide)}};
          },
      .reference =
          [](const SuiteContext&, const TensorMap& in) {
            const tensors::Inputs inputs = masked_rows({41, 30}, 41);
            if (in.at("q").scalar_type() == at::kDouble) {
              return Outputs{{"indexer.scores", scores_by_loops(in, inputs)}};
            }
            return scores_only(reference_choice(in, inputs, 5));
          },
      .candidate =
          [](const SuiteContext&, const TensorMap& in) {
            return scores_only(candidate_choice(in, masked_rows({41, 30}, 41), 5));
          },
  });
}

}  // namespace

std::vector<cases::Case> indexer_cases() {
  std::vector<cases::Case> all = hadamard_cases();
  std::ranges::move(
      std::vector<cases::Case>{
          chain_case("queries_keys_weights_and_scores_of_layer_zero", 1.0),
          // Beside them the epsilon of the key's norm is no longer small.
          chain_case("queries_keys_weights_and_scores_of_small_rows", 1e-2),
          loops_case("scores_by_scalar_loops", 1.0),
          loops_case("scores_of_large_operands_by_scalar_loops", 1e4),
          loops_case("scores_of_small_operands_by_scalar_loops", 1e-4),
          hadamard_relation_case(),
          relation_case("negated_head_weights_negate_scores", with_negated_weights, negated, false),
          relation_case("a_head_rescaled_and_its_weight_divided_leaves_scores",
                        with_one_head_rescaled, unchanged, false),
          relation_case("the_order_of_heads_does_not_matter", with_heads_reversed, unchanged,
                        false),
      },
      std::back_inserter(all));
  return all;
}

}  // namespace sparity::suites
