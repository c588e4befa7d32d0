#include "suites/attention/truth_attention.h"

#include "reference/model/mask.h"
#include "reference/model/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/xlogy.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

namespace sparity::suites {

namespace reference = sparity::reference::model;

TruthAttention::TruthAttention(const cases::SuiteContext& context, const cases::Trace& truth,
                               std::int64_t layer)
    : scale_(reference::softmax_scale(context.config())) {
  const std::string name = fmt::format("layers.{}.self_attn", layer);
  q_ = truth.tensors.at(name + ".q");
  kv_ = truth.tensors.at(name + ".kv_a_layernorm");
  k_rot_ = truth.tensors.at(name + ".k_rot");
  lse_ = truth.tensors.at(name + ".lse");
  kv_b_proj_ = context.weights()
                   .get("model." + name + ".kv_b_proj.weight", at::kDouble)
                   .unflatten(0, {q_.size(2), -1});
  support_ = reference::support(truth.tensors.at(name + ".indexer.topk_indices"), kv_.size(1)) &
             reference::valid_pairs(context.inputs());
}

at::Tensor TruthAttention::probabilities(std::int64_t head) const {
  const std::int64_t nope = q_.size(3) - k_rot_.size(2);
  const at::Tensor k_nope = at::matmul(kv_, kv_b_proj_.select(0, head).narrow(0, 0, nope).t());
  const at::Tensor k = at::cat({k_nope, k_rot_}, -1);
  const at::Tensor z = at::matmul(q_.select(2, head), k.transpose(1, 2)).mul(scale_);
  const at::Tensor shift = lse_.select(2, head).unsqueeze(-1);
  return (z - shift).exp().masked_fill(support_.logical_not(), 0.0);
}

at::Tensor TruthAttention::mean_probabilities() const {
  at::Tensor mean = at::zeros(support_.sizes(), q_.options());
  for (std::int64_t head = 0; head < q_.size(2); ++head) {
    mean.add_(probabilities(head), 1.0 / static_cast<double>(q_.size(2)));
  }
  return mean;
}

std::vector<double> TruthAttention::entropy_shares() const {
  const at::Tensor keys = support_.sum(-1);
  const at::Tensor several = keys > 1;
  std::vector<double> shares;
  for (std::int64_t head = 0; head < q_.size(2); ++head) {
    const at::Tensor p = probabilities(head);
    const at::Tensor entropy = at::xlogy(p, p).sum(-1).neg();
    const at::Tensor share =
        (entropy / keys.to(at::kDouble).log()).masked_select(several).contiguous();
    const double* first = share.const_data_ptr<double>();
    shares.insert(shares.end(), first, first + share.numel());
  }
  return shares;
}

}  // namespace sparity::suites
