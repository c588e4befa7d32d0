#include "suites/indexer_loss/relation_cases.h"

#include "reference/model/indexer.h"
#include "reference/model/mask.h"
#include "src/core/dtype.h"
#include "src/tensors/at_dtype.h"
#include "suites/indexer_loss/kl_problem.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones_like.h>
#include <fmt/format.h>

#include <cmath>

namespace sparity::suites::indexer_loss {

namespace {

using cases::Case;
using cases::SuiteContext;
using cases::TensorMap;
using core::AttentionMode;
using core::KlOptions;

constexpr KlOptions kDefault;

/// Unit roundoff of what the loss is computed in.
double roundoff(const SuiteContext& context) {
  return core::unit_roundoff(tensors::to_dtype(tensors::at_least_f32(context.activation())));
}

/// 64·√K·u, the bound that float64 candidates are held to (b.2), here in the dtype of the loss:
/// what two orders of the same sums may differ by, relative to the result.
double chain_bound(const SuiteContext& context) {
  return 64 * std::sqrt(static_cast<double>(context.reduction_length())) * roundoff(context);
}

Case relation(const std::string& name,
              std::function<void(const SuiteContext&, judge::CaseRecord&)> run) {
  return {"indexer_loss", name, std::move(run)};
}

void claim(judge::CaseRecord& record, const std::string& tensor, double value, double bound,
           const std::string& note) {
  judge::Comparison comparison;
  comparison.tensor = tensor;
  comparison.gates.push_back(judge::make_gate("holds", value, bound, true, note));
  record.comparisons.push_back(comparison);
}

double largest(const at::Tensor& x) { return x.abs().max().item().toDouble(); }

/// q of every row in float64, from the reference's scores: [B, S, T], 0 where there is none.
at::Tensor own_distribution(const TensorMap& in, const at::Tensor& support) {
  const at::Tensor scores = sparity::reference::model::index_scores(
      in.at("index_q").to(at::kDouble), in.at("index_k").to(at::kDouble),
      in.at("index_weights").to(at::kDouble), support);
  return scores.softmax(-1).nan_to_num(0.0);
}

at::Tensor support_of(const TensorMap& in) {
  return sparity::reference::model::support(in.at("selected"), kTokens);
}

void target_sums_to_one(const SuiteContext& context, judge::CaseRecord& record) {
  const TensorMap in = kl_inputs(context, kTokens, kSelected);
  for (const AttentionMode mode : {AttentionMode::kSparse, AttentionMode::kDense}) {
    const CandidateProblem problem = candidate_problem(context, in, mode);
    const at::Tensor sums =
        ops::kl_target(problem.teacher, problem.mask, kDefault).to(at::kDouble).sum(-1);
    const at::Tensor expected = in.at("token_mask").to(at::kDouble);
    // Each head's P is one exponential of a difference: its error is that of the logits.
    claim(record, fmt::format("kl_target.{}", core::to_string(mode)), largest(sums - expected),
          chain_bound(context), "rows of tokens sum to one, rows of padding to zero");
  }
}

/// KL_t ≥ 0; with the indexer's own distribution as the target, 0.
void divergence_is_positive(const SuiteContext& context, judge::CaseRecord& record) {
  const TensorMap in = kl_inputs(context, kTokens, kSelected);
  const CandidateProblem problem = candidate_problem(context, in, AttentionMode::kSparse);
  const double bound = chain_bound(context);
  const ops::IndexerKl kl = ops::indexer_kl(problem.index, problem.teacher, problem.mask, kDefault);
  claim(record, "kl_rows", -kl.rows.min().item().toDouble(), bound, "KL ≥ 0");
  const double sum = kl.rows.to(at::kDouble).sum().item().toDouble();
  claim(record, "kl_sum", std::abs(kl.sum.item().toDouble() - sum), 2 * roundoff(context) * sum,
        "the sum of the rows");
  record.comparisons.push_back(cases::claim_holds("kl_sum", kl.sum.item().toDouble() > 1000 * bound,
                                                  "the problem is not solved already"));
  const at::Tensor own =
      own_distribution(in, support_of(in)).to(problem.index.weights.scalar_type());
  const ops::IndexerKl none =
      ops::indexer_kl(problem.index, problem.teacher, problem.mask, kDefault, own);
  claim(record, "kl_rows.own", largest(none.rows), bound, "KL of a distribution with itself is 0");
}

/// dKL/dI = q − p, seen through the one channel that is linear in the scores: with one head weight
/// per row, dKL/dw = Σ_t (q − p) · max(a, 0).
void gradient_is_q_minus_p(const SuiteContext& context, judge::CaseRecord& record) {
  const TensorMap in = kl_inputs(context, kTokens, kSelected);
  const CandidateProblem problem = candidate_problem(context, in, AttentionMode::kSparse);
  const at::Tensor p = ops::kl_target(problem.teacher, problem.mask, kDefault).to(at::kDouble);
  const at::Tensor q = own_distribution(in, support_of(in));
  const at::Tensor dots = in.at("index_q")
                              .to(at::kDouble)
                              .matmul(in.at("index_k").to(at::kDouble).unsqueeze(1).transpose(2, 3))
                              .clamp_min(0);  // [B, S, Hi, T]
  const at::Tensor expected = dots.matmul((q - p).unsqueeze(-1)).squeeze(-1);
  const at::Tensor found = candidate_gradients(problem, kDefault)[2].to(at::kDouble);
  claim(record, "grad.index_weights", (found - expected).norm().item().toDouble(),
        chain_bound(context) * expected.norm().item().toDouble(), "Σ (q − p) · max(a, 0)");
}

/// The first query sees itself alone: no loss, no gradient. Padding has none either.
void single_key_teaches_nothing(const SuiteContext& context, judge::CaseRecord& record) {
  const TensorMap in = kl_inputs(context, kTokens, kSelected);
  for (const AttentionMode mode : {AttentionMode::kSparse, AttentionMode::kDense}) {
    const CandidateProblem problem = candidate_problem(context, in, mode);
    const ops::IndexerKl kl =
        ops::indexer_kl(problem.index, problem.teacher, problem.mask, kDefault);
    const std::vector<at::Tensor> gradients = candidate_gradients(problem, kDefault);
    const std::string suffix = "." + std::string(core::to_string(mode));
    const double bound = chain_bound(context);
    claim(record, "kl_rows.first" + suffix, std::abs(kl.rows[0][0].item().toDouble()), bound,
          "one key: nothing to learn");
    claim(record, "grad.index_weights.first" + suffix, largest(gradients[2][0][0].to(at::kDouble)),
          bound * largest(gradients[2].to(at::kDouble)), "one key: nothing to learn");
    const at::Tensor padding = in.at("token_mask")[1].logical_not();
    record.comparisons.push_back(
        cases::claim_holds("kl_rows.padding" + suffix,
                           kl.rows[1].masked_select(padding).eq(0).all().item().toBool() &&
                               gradients[1][1]
                                   .index_select(0, padding.nonzero().squeeze(1))
                                   .eq(0)
                                   .all()
                                   .item()
                                   .toBool(),
                           "padding has no loss, and its keys no gradient"));
  }
}

/// With as many keys selected as there are, sparse and dense mode are one problem.
void all_keys_selected_is_dense(const SuiteContext& context, judge::CaseRecord& record) {
  const TensorMap in = kl_inputs(context, kTokens, kTokens);
  const CandidateProblem sparse = candidate_problem(context, in, AttentionMode::kSparse);
  const CandidateProblem dense = candidate_problem(context, in, AttentionMode::kDense);
  const at::Tensor a =
      ops::indexer_kl(sparse.index, sparse.teacher, sparse.mask, kDefault).rows.to(at::kDouble);
  const at::Tensor b =
      ops::indexer_kl(dense.index, dense.teacher, dense.mask, kDefault).rows.to(at::kDouble);
  claim(record, "kl_rows", (a - b).norm().item().toDouble(),
        chain_bound(context) * b.norm().item().toDouble(), "sparse = dense when k ≥ T");
}

/// The target does not care which head is which, nor how large the values' rows are.
void heads_may_be_permuted(const SuiteContext& context, judge::CaseRecord& record) {
  const TensorMap in = kl_inputs(context, kTokens, kSelected);
  const std::int64_t heads = context.config().num_attention_heads;
  const at::Tensor order = at::arange(heads - 1, -1, -1, at::kLong);
  TensorMap turned = in;
  turned["q_nope"] = in.at("q_nope").index_select(2, order);
  turned["q_rot"] = in.at("q_rot").index_select(2, order);
  turned["kv_b_proj"] = in.at("kv_b_proj")
                            .view({heads, -1, in.at("kv_b_proj").size(1)})
                            .index_select(0, order)
                            .reshape(in.at("kv_b_proj").sizes());
  const auto target = [&](const TensorMap& inputs) {
    const CandidateProblem problem = candidate_problem(context, inputs, AttentionMode::kSparse);
    return ops::kl_target(problem.teacher, problem.mask, kDefault).to(at::kDouble);
  };
  const at::Tensor plain = target(in);
  claim(record, "kl_target", (target(turned) - plain).norm().item().toDouble(),
        chain_bound(context) * plain.norm().item().toDouble(), "heads in another order");
}

/// What stands in padded positions changes no bit.
void padding_changes_nothing(const SuiteContext& context, judge::CaseRecord& record) {
  const TensorMap in = kl_inputs(context, kTokens, kSelected);
  TensorMap other = in;
  for (const char* name : {"index_q", "index_k", "index_weights", "q_nope", "kv"}) {
    other[name] = in.at(name).clone();
    other[name][1].narrow(0, 0, 5).mul_(-3.0).add_(1.0);
  }
  for (const AttentionMode mode : {AttentionMode::kSparse, AttentionMode::kDense}) {
    const auto rows = [&](const TensorMap& inputs) {
      const CandidateProblem problem = candidate_problem(context, inputs, mode);
      return ops::indexer_kl(problem.index, problem.teacher, problem.mask, kDefault).rows;
    };
    record.comparisons.push_back(cases::compare_bits(
        fmt::format("kl_rows.{}", core::to_string(mode)), rows(other), rows(in)));
  }
}

/// The same bits whatever the number of threads.
void threads_change_no_bit(const SuiteContext& context, judge::CaseRecord& record) {
  const TensorMap in = kl_inputs(context, 300, kSelected);
  const int before = at::get_num_threads();
  for (const AttentionMode mode : {AttentionMode::kSparse, AttentionMode::kDense}) {
    const auto gradients = [&](int threads) {
      at::set_num_threads(threads);
      std::vector<at::Tensor> found =
          candidate_gradients(candidate_problem(context, in, mode), kDefault);
      at::set_num_threads(before);
      return found;
    };
    const std::vector<at::Tensor> one = gradients(1);
    for (const int threads : {2, 3}) {
      const std::vector<at::Tensor> more = gradients(threads);
      for (std::size_t i = 0; i < one.size(); ++i) {
        record.comparisons.push_back(cases::compare_bits(
            fmt::format("grad.{}.{}.{}_threads", i, core::to_string(mode), threads), more[i],
            one[i]));
      }
    }
  }
}

}  // namespace

std::vector<Case> relation_cases() {
  return {
      relation("target_rows_sum_to_one", target_sums_to_one),
      relation("divergence_is_positive_and_zero_of_itself", divergence_is_positive),
      relation("gradient_is_q_minus_p", gradient_is_q_minus_p),
      relation("one_key_or_none_teaches_nothing", single_key_teaches_nothing),
      relation("all_keys_selected_is_dense", all_keys_selected_is_dense),
      relation("heads_may_be_permuted", heads_may_be_permuted),
      relation("padding_changes_no_bit", padding_changes_nothing),
      relation("threads_change_no_bit", threads_change_no_bit),
  };
}

}  // namespace sparity::suites::indexer_loss
