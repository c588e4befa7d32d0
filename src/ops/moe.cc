#include "src/ops/moe.h"

#include "src/core/fault.h"
#include "src/ops/linear.h"
#include "src/ops/parallel.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// (token, slot) pairs in order of expert: pair = token · K + slot.
struct ExpertOrder {
  std::vector<std::int64_t> begin;  // of each expert in `pairs`; E + 1 entries
  at::Tensor pairs;                 // I64 [N · K]
};

ExpertOrder sort_by_expert(const at::Tensor& indices, std::size_t experts) {
  const at::Tensor flat = indices.reshape({-1}).contiguous();
  const auto* expert = flat.const_data_ptr<std::int64_t>();
  ExpertOrder order{std::vector<std::int64_t>(experts + 1, 0),
                    at::empty({flat.numel()}, at::kLong)};
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    ++order.begin[static_cast<std::size_t>(expert[i]) + 1];
  }
  for (std::size_t e = 0; e < experts; ++e) {
    order.begin[e + 1] += order.begin[e];
  }
  std::vector<std::int64_t> next = order.begin;
  auto* pairs = order.pairs.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    pairs[next[static_cast<std::size_t>(expert[i])]++] = i;
  }
  return order;
}

/// Experts, those with most tokens first.
std::vector<std::size_t> by_tokens(const ExpertOrder& order) {
  std::vector<std::size_t> experts(order.begin.size() - 1);
  std::iota(experts.begin(), experts.end(), std::size_t{0});
  std::ranges::stable_sort(experts, std::greater<>(),
                           [&](std::size_t e) { return order.begin[e + 1] - order.begin[e]; });
  return experts;
}

MlpWeights effective(const MlpWeights& expert) {
  return planted(Fault::kF18ExpertWeightsSwapped)
             ? MlpWeights{expert.up_proj, expert.gate_proj, expert.down_proj}
             : expert;
}

/// One matrix product covers this many tokens of an expert. Fixed, so that no bit depends on the
/// number of threads.
constexpr std::int64_t kTokens = 64;

/// Some of an expert's tokens.
struct Job {
  std::size_t expert;
  std::int64_t begin;  // in `pairs`
  std::int64_t count;
};

std::vector<Job> jobs_of(const ExpertOrder& order) {
  std::vector<Job> jobs;
  for (std::size_t e = 0; e + 1 < order.begin.size(); ++e) {
    for (std::int64_t at = order.begin[e]; at < order.begin[e + 1]; at += kTokens) {
      jobs.push_back({e, at, std::min(kTokens, order.begin[e + 1] - at)});
    }
  }
  return jobs;
}

/// Sum over slots, in their order, of rows [N · K, D] → [N, D].
at::Tensor sum_of_slots(const at::Tensor& rows, std::int64_t slots) {
  const at::Tensor by_token = rows.view({-1, slots, rows.size(1)});
  at::Tensor sum = at::zeros({by_token.size(0), rows.size(1)}, rows.options());
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    sum.add_(by_token.select(1, slot));
    if (planted(Fault::kF48AccumulatesInBf16)) {
      sum = sum.to(at::kBFloat16).to(rows.scalar_type());
    }
  }
  return sum;
}

/// x [N, D], weights [N · K, 1] wide → [N, D] wide.
at::Tensor forward_experts(const at::Tensor& x, const at::Tensor& weights, std::int64_t slots,
                           const ExpertOrder& order, const std::vector<MlpWeights>& experts) {
  const at::Tensor weighted = at::empty({weights.size(0), x.size(1)}, weights.options());
  const std::vector<Job> jobs = jobs_of(order);
  for_each_item(std::ssize(jobs), [&](std::int64_t i) {
    const Job& job = jobs[static_cast<std::size_t>(i)];
    const at::Tensor pairs = order.pairs.narrow(0, job.begin, job.count);
    const at::Tensor output =
        mlp(x.index_select(0, pairs.div(slots, "floor")), effective(experts[job.expert]));
    weighted.index_copy_(0, pairs,
                         output.to(weights.scalar_type()).mul_(weights.index_select(0, pairs)));
    const bool last = order.begin[job.expert + 1] == job.begin + kTokens;
    if (last && planted(Fault::kF127ExpertLosesToken)) {
      weighted.index_fill_(0, pairs.narrow(0, kTokens - 1, 1), 0);
    }
  });
  return sum_of_slots(weighted, slots);
}

/// Where the backward of every expert writes.
struct ExpertGradients {
  at::Tensor pairs;                    // [N · K, D] wide: of each pair's token
  at::Tensor weights;                  // [N · K, 1] wide
  std::vector<variable_list> experts;  // of each one's `terms_of`
};

/// Every tensor of an expert: of gate, up and down, each its `terms_of`.
variable_list terms_of(const MlpWeights& expert) {
  variable_list terms;
  for (const LinearWeight* weight : {&expert.gate_proj, &expert.up_proj, &expert.down_proj}) {
    const std::vector<at::Tensor> own = ops::terms_of(*weight);
    terms.insert(terms.end(), own.begin(), own.end());
  }
  return terms;
}

/// The same expert with other tensors in the place of its own, from `next` on.
MlpWeights with_terms(MlpWeights expert, at::TensorList tensors, std::size_t& next) {
  for (LinearWeight* weight : {&expert.gate_proj, &expert.up_proj, &expert.down_proj}) {
    weight->base = tensors[next++];
    for (tensors::LowRankPair& pair : weight->pairs) {
      pair.a = tensors[next++];
      pair.b = tensors[next++];
    }
  }
  return expert;
}

/// What the experts are made of, without their tensors, for the backward.
struct ExpertShapes : torch::CustomClassHolder {
  std::vector<MlpWeights> experts;

  explicit ExpertShapes(const std::vector<MlpWeights>& of) : experts(of) {
    for (MlpWeights& expert : experts) {
      const variable_list nothing(terms_of(expert).size());
      std::size_t next = 0;
      expert = with_terms(std::move(expert), nothing, next);
    }
  }

  std::vector<MlpWeights> with(at::TensorList tensors) const {
    std::vector<MlpWeights> filled;
    std::size_t next = 0;
    for (const MlpWeights& expert : experts) {
      filled.push_back(with_terms(expert, tensors, next));
    }
    return filled;
  }
};

/// The backward of one expert over all of its tokens. x [N, D], dy [N, D] wide.
void expert_backward(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& dy,
                     const at::Tensor& pairs, std::int64_t slots, const MlpWeights& expert,
                     ExpertGradients& gradients, variable_list& own) {
  const at::ScalarType activation = x.scalar_type();
  const at::Tensor tokens = pairs.div(slots, "floor");
  const at::Tensor rows = x.index_select(0, tokens);
  const at::Tensor gate = linear(rows, expert.gate_proj);
  const at::Tensor up = linear(rows, expert.up_proj);
  const at::Tensor hidden = swiglu(gate, up);
  const at::Tensor back = dy.index_select(0, tokens);
  const at::Tensor output = linear(hidden, expert.down_proj);
  if (!planted(Fault::kF82RoutingWeightsWithoutGradient)) {
    gradients.weights.index_copy_(0, pairs, back.mul(output).sum(1, true));
  }
  const at::Tensor d_output = back.mul(weights.index_select(0, pairs)).to(activation);
  const LinearGradients down = linear_backward(hidden, expert.down_proj, d_output);
  const SwigluGradients inner = swiglu_backward(gate, up, down.x.to(activation));
  const LinearGradients of_gate = linear_backward(rows, expert.gate_proj, inner.gate);
  const LinearGradients of_up = linear_backward(rows, expert.up_proj, inner.up);
  for (const LinearGradients* part : {&of_gate, &of_up, &down}) {
    own.insert(own.end(), part->terms.begin(), part->terms.end());
  }
  gradients.pairs.index_copy_(0, pairs, of_gate.x.to(dy.scalar_type()).add_(of_up.x));
}

/// Zeros for what an expert without tokens would give a gradient.
variable_list no_gradients(const MlpWeights& expert) {
  variable_list zeros = terms_of(expert);
  for (at::Tensor& term : zeros) {
    term = term.requires_grad() ? at::zeros_like(term) : at::Tensor();
  }
  return zeros;
}

/// Saves its inputs alone; what lies between is computed again, expert by expert.
struct RoutedExperts : torch::autograd::Function<RoutedExperts> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weights, const at::Tensor& indices,
                            at::TensorList terms, const c10::intrusive_ptr<ExpertShapes>& shapes) {
    variable_list saved = {x, weights, indices};
    saved.insert(saved.end(), terms.begin(), terms.end());
    context->save_for_backward(saved);
    context->saved_data["shapes"] = c10::IValue::make_capsule(shapes);
    const std::vector<MlpWeights> experts = shapes->with(terms);
    return forward_experts(x.reshape({-1, x.size(2)}), weights.reshape({-1, 1}), indices.size(2),
                           sort_by_expert(indices, experts.size()), experts)
        .view(x.sizes());
  }

  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor x = saved[0].reshape({-1, saved[0].size(2)});
    const at::Tensor weights = saved[1].reshape({-1, 1});
    const std::int64_t slots = saved[2].size(2);
    const auto shapes =
        c10::static_intrusive_pointer_cast<ExpertShapes>(context->saved_data["shapes"].toCapsule());
    const std::vector<MlpWeights> experts = shapes->with(at::TensorList(saved).slice(3));
    const ExpertOrder order = sort_by_expert(saved[2], experts.size());
    const at::Tensor dy = arrived[0].reshape(x.sizes()).contiguous();
    ExpertGradients gradients{at::zeros({weights.size(0), x.size(1)}, weights.options()),
                              at::zeros_like(weights), std::vector<variable_list>(experts.size())};
    const std::vector<std::size_t> busiest = by_tokens(order);
    for_each_item(std::ssize(experts), [&](std::int64_t i) {
      const std::size_t e = busiest[static_cast<std::size_t>(i)];
      std::int64_t count = order.begin[e + 1] - order.begin[e];
      count -=
          count > 0 && count % kTokens == 0 && planted(Fault::kF128ExpertLosesGradient) ? 1 : 0;
      const bool left_out =
          planted(Fault::kF79LastExpertWithoutGradient) && e + 1 == experts.size();
      if (count == 0 || left_out) {
        gradients.experts[e] = planted(Fault::kF100IdleExpertWithoutGradient) && !left_out
                                   ? variable_list(terms_of(experts[e]).size())
                                   : no_gradients(experts[e]);
        return;
      }
      expert_backward(x, weights, dy, order.pairs.narrow(0, order.begin[e], count), slots,
                      effective(experts[e]), gradients, gradients.experts[e]);
    });
    variable_list result = {
        sum_of_slots(gradients.pairs, slots).to(x.scalar_type()).view(saved[0].sizes()),
        gradients.weights.view(saved[1].sizes()), at::Tensor()};
    for (const variable_list& expert : gradients.experts) {
      result.insert(result.end(), expert.begin(), expert.end());
    }
    result.emplace_back();  // of shapes
    return result;
  }
};

}  // namespace

at::Tensor routed_experts(const at::Tensor& x, const Routing& routing,
                          const std::vector<MlpWeights>& experts) {
  variable_list terms;
  for (const MlpWeights& expert : experts) {
    const variable_list own = terms_of(expert);
    terms.insert(terms.end(), own.begin(), own.end());
  }
  return RoutedExperts::apply(x, routing.weights, routing.indices, at::TensorList(terms),
                              c10::make_intrusive<ExpertShapes>(experts));
}

}  // namespace sparity::ops
