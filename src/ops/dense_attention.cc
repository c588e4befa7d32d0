#include "src/ops/attention.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

namespace sparity::ops {

namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr std::int64_t kQueryTile = 32;
constexpr std::int64_t kKeyTile = 256;

/// Keys and values of every head of one batch row, in f32(A).
struct ExpandedKeys {
  at::Tensor k;  // [H, T, Dn + Dr]
  at::Tensor v;  // [H, T, Dv]
};

ExpandedKeys expand(const AttentionOperands& operands, std::int64_t b, at::ScalarType wide) {
  const std::int64_t heads = operands.q_nope.size(2);
  const std::int64_t nope = operands.q_nope.size(3);
  const std::int64_t values = operands.v_head_dim();
  const at::Tensor up = operands.kv_b_proj.to(wide).view({heads, nope + values, -1});
  const at::Tensor expanded =
      at::matmul(operands.kv[b].to(wide), up.transpose(1, 2));  // [H, T, Dn+Dv]
  const at::Tensor k_rot = operands.k_rot[b].to(wide).unsqueeze(0).expand({heads, -1, -1});
  return {at::cat({expanded.narrow(2, 0, nope), k_rot}, -1), expanded.narrow(2, nope, values)};
}

/// The softmax of a row whose keys arrive tile by tile.
class OnlineSoftmax {
 public:
  OnlineSoftmax(std::int64_t heads, std::int64_t rows, std::int64_t values,
                at::TensorOptions options)
      : largest_(at::full({heads, rows, 1}, kMinusInfinity, options)),
        sum_(at::zeros({heads, rows, 1}, options)),
        output_(at::zeros({heads, rows, values}, options)) {}

  /// logits [H, rows, keys], v [H, keys, Dv].
  void add(const at::Tensor& logits, const at::Tensor& v) {
    const at::Tensor largest = at::maximum(largest_, logits.amax(-1, true));
    const at::Tensor shift = largest.masked_fill(largest.isinf(), 0.0);
    const at::Tensor rescale = largest_.sub(shift).exp();
    const at::Tensor weights = logits.sub(shift).exp();
    sum_ = sum_.mul(rescale).add(weights.sum(-1, true));
    output_ = output_.mul(rescale).add(at::bmm(weights, v));
    largest_ = largest;
  }

  at::Tensor output() const { return output_.div(sum_.masked_fill(sum_.eq(0.0), 1.0)); }
  at::Tensor lse() const {
    return sum_.log().add(largest_.masked_fill(largest_.isinf(), 0.0)).squeeze(-1);
  }

 private:
  at::Tensor largest_;
  at::Tensor sum_;
  at::Tensor output_;
};

}  // namespace

AttentionResult dense_attention(const AttentionOperands& operands, const KeyMask& mask) {
  const at::ScalarType wide = tensors::at_least_f32(operands.q_nope.scalar_type());
  const at::Tensor q = at::cat({operands.q_nope, operands.q_rot}, -1).to(wide);
  const std::int64_t queries = q.size(1);
  const std::int64_t heads = q.size(2);
  const std::int64_t values = operands.v_head_dim();
  AttentionResult result{at::empty({q.size(0), queries, heads, values}, operands.q_nope.options()),
                         at::empty({q.size(0), queries, heads}, q.options())};
  for (std::int64_t b = 0; b < q.size(0); ++b) {
    const ExpandedKeys keys = expand(operands, b, wide);
    for (std::int64_t row0 = 0; row0 < queries; row0 += kQueryTile) {
      const std::int64_t row1 = std::min(row0 + kQueryTile, queries);
      const at::Tensor q_tile =
          q[b].narrow(0, row0, row1 - row0).transpose(0, 1);  // [H, rows, Dqk]
      const at::Tensor hidden = mask.rows(row0, row1)[b].logical_not();
      OnlineSoftmax softmax(heads, row1 - row0, values, q.options());
      const std::int64_t reachable = std::min(row1 + 1, mask.tokens());
      for (std::int64_t key0 = 0; key0 < reachable; key0 += kKeyTile) {
        const std::int64_t width = std::min(kKeyTile, reachable - key0);
        const at::Tensor logits =
            at::bmm(q_tile, keys.k.narrow(1, key0, width).transpose(1, 2))
                .mul_(operands.scale)  // on the product: one rounding, not one per channel of q
                .masked_fill_(hidden.narrow(1, key0, width).unsqueeze(0), kMinusInfinity);
        softmax.add(logits, keys.v.narrow(1, key0, width));
      }
      result.output[b].narrow(0, row0, row1 - row0).copy_(softmax.output().transpose(0, 1));
      result.lse[b].narrow(0, row0, row1 - row0).copy_(softmax.lse().transpose(0, 1));
    }
  }
  return result;
}

}  // namespace sparity::ops
