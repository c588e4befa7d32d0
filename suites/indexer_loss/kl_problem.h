#pragma once

#include "src/core/forward_options.h"
#include "src/core/objective.h"
#include "src/ops/indexer_kl.h"
#include "suites/cases/case.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>

namespace sparity::suites::indexer_loss {

/// Tokens of a row, and keys selected for each, unless a case needs others.
inline constexpr std::int64_t kTokens = 37;
inline constexpr std::int64_t kSelected = 11;

/// Names of what a KL loss of one layer is computed from: "index_q", "index_k", "index_weights",
/// "q_nope", "q_rot", "kv", "k_rot", "kv_b_proj"; "selected" I64 [B, S, K]; "token_mask" Bool [B,
/// S]. Two rows of tokens in the config's own head sizes, the second padded on the left; selected
/// are the top of random scores.
cases::TensorMap kl_inputs(const cases::SuiteContext& context, std::int64_t tokens,
                           std::int64_t selected);

/// What both sides return: "kl_target" [B, S, T], "kl_rows" [B, S], and their sum's
/// gradients "grad.index_q", "grad.index_k", "grad.index_weights".
cases::Outputs candidate_kl(const cases::SuiteContext& context, const cases::TensorMap& in,
                            core::AttentionMode mode, const core::KlOptions& options);
cases::Outputs reference_kl(const cases::SuiteContext& context, const cases::TensorMap& in,
                            core::AttentionMode mode, const core::KlOptions& options);

/// What the candidate's pass takes, over the inputs themselves.
struct CandidateProblem {
  ops::KeyMask mask;
  ops::IndexOperands index;
  ops::KlTeacher teacher;
};
CandidateProblem candidate_problem(const cases::SuiteContext& context, const cases::TensorMap& in,
                                   core::AttentionMode mode);

/// The loss's gradients in the order q, k, weights.
std::vector<at::Tensor> candidate_gradients(const CandidateProblem& problem,
                                            const core::KlOptions& options,
                                            const at::Tensor& target = {});

/// Changes inputs before either side sees them.
using Change = std::function<void(const cases::SuiteContext&, cases::TensorMap&)>;

/// The claim that both sides agree on a problem.
cases::Case kl_case(const std::string& name, core::AttentionMode mode,
                    const core::KlOptions& options, const Change& change = {});

}  // namespace sparity::suites::indexer_loss
