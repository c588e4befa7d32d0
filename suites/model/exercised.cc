#include "suites/model/exercised.h"

#include "reference/model/attention.h"
#include "suites/cases/trace.h"
#include "suites/judge/conditions.h"

#include <ATen/ops/softmax.h>

#include <cmath>

namespace sparity::suites {

namespace {

using cases::SuiteContext;
using cases::Trace;

std::vector<double> numbers(const at::Tensor& tensor) { return cases::judged(tensor).values; }

void append(std::vector<double>& to, const at::Tensor& tensor) {
  const std::vector<double> values = numbers(tensor);
  to.insert(to.end(), values.begin(), values.end());
}

std::vector<std::int64_t> row_lengths(const tensors::Inputs& inputs) {
  std::vector<std::int64_t> lengths;
  for (const double count : numbers(inputs.token_mask.sum(1))) {
    lengths.push_back(static_cast<std::int64_t>(count));
  }
  return lengths;
}

/// How many tokens each expert of one layer received.
std::vector<std::int64_t> loads(const at::Tensor& indices, const at::Tensor& token_mask,
                                std::int64_t experts) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(experts), 0);
  const std::vector<double> chosen =
      numbers(indices.masked_fill(token_mask.logical_not().unsqueeze(-1), -1));
  for (const double expert : chosen) {
    if (expert >= 0) {
      ++counts[static_cast<std::size_t>(expert)];
    }
  }
  return counts;
}

/// Entropy of every attention row of one layer over the log of its number of keys.
void add_entropies(const SuiteContext& context, const Trace& truth, std::int64_t layer,
                   std::vector<double>& shares) {
  const std::string prefix = "layers." + std::to_string(layer) + ".self_attn.";
  const core::ModelConfig& c = context.config();
  const at::Tensor& q = truth.tensors.at(prefix + "q");  // [B, S, H, Dqk]
  const at::Tensor& kv = truth.tensors.at(prefix + "kv_a_layernorm");
  const at::Tensor& k_rot = truth.tensors.at(prefix + "k_rot");
  const at::Tensor up = context.weights()
                            .get("model." + prefix + "kv_b_proj.weight", at::kDouble)
                            .view({c.num_attention_heads, -1, c.kv_lora_rank})
                            .narrow(1, 0, c.qk_nope_head_dim);
  const at::Tensor absorbed = q.narrow(-1, 0, c.qk_nope_head_dim)
                                  .transpose(1, 2)
                                  .matmul(up.unsqueeze(0));  // [B, H, S, Rkv]
  const at::Tensor rotated = q.narrow(-1, c.qk_nope_head_dim, c.qk_rope_head_dim).transpose(1, 2);
  const at::Tensor logits = absorbed.matmul(kv.transpose(1, 2).unsqueeze(1))
                                .add(rotated.matmul(k_rot.transpose(1, 2).unsqueeze(1)))
                                .mul(reference::model::softmax_scale(c));
  const at::Tensor& chosen = truth.tensors.at(prefix + "indexer.topk_indices").unsqueeze(1);
  const at::Tensor picked =
      logits.gather(3, chosen.clamp_min(0).expand({-1, c.num_attention_heads, -1, -1}))
          .masked_fill(chosen.lt(0), -std::numeric_limits<double>::infinity());
  const at::Tensor p = at::softmax(picked, -1);
  const std::vector<double> entropy = numbers(p.mul(p.clamp_min(1e-300).log()).sum(-1).neg());
  const std::vector<double> keys =
      numbers(chosen.ge(0).sum(-1).expand({-1, c.num_attention_heads, -1}));
  for (std::size_t i = 0; i < entropy.size(); ++i) {
    if (keys[i] > 1 && std::isfinite(entropy[i])) {
      shares.push_back(entropy[i] / std::log(keys[i]));
    }
  }
}

void add_parameters(const SuiteContext& context, judge::ExercisedFacts& facts) {
  for (const core::ParameterSpec& parameter : context.checkpoint().manifest.parameters()) {
    const at::Tensor& value = context.weights().at(parameter.name);
    using enum core::ParameterRole;
    if (parameter.role == kNormGain || parameter.role == kIndexerNormGain) {
      facts.norm_gains.push_back(numbers(value));
    } else if (parameter.role == kIndexerNormBias) {
      facts.biases.push_back(numbers(value));
    } else if (parameter.role == kRouterBias) {
      append(facts.selection_bias, value);
    }
  }
}

}  // namespace

void exercises_what_it_claims(const SuiteContext& context, judge::CaseRecord& record) {
  const Trace truth = cases::trace_forward(context, context.truth(), context.inputs());
  judge::ExercisedFacts facts;
  facts.sequence_lengths = row_lengths(context.inputs());
  facts.distinct_tokens = context.distinct_tokens();
  add_parameters(context, facts);
  for (std::int64_t layer = 0; layer < context.config().num_hidden_layers; ++layer) {
    if (context.config().is_moe_layer(layer)) {
      facts.tokens_per_expert.push_back(
          loads(truth.tensors.at("layers." + std::to_string(layer) + ".mlp.gate.topk_indices"),
                context.inputs().token_mask, context.config().n_routed_experts));
    }
    add_entropies(context, truth, layer, facts.entropy_shares);
  }
  for (const std::string& name : truth.order) {
    const at::Tensor& value = truth.tensors.at(name);
    if (value.is_floating_point() && !name.ends_with(".scores") && !name.ends_with(".lse")) {
      facts.truths.push_back(judge::truth_fact(name, cases::judged(value)));
    }
  }
  facts.comparisons = static_cast<std::int64_t>(facts.truths.size());
  record.conditions = judge::conditions_of(context.config(), facts, context.options().embedded);
  record.comparisons.push_back(cases::claim_holds("conditions", !record.conditions.empty(),
                                                  "the conditions of this run were measured"));
}

}  // namespace sparity::suites
