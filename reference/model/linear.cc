#include "reference/model/linear.h"

#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>

namespace sparity::reference::model {
namespace {

at::Tensor dropped(const at::Tensor& x, const tensors::LowRankPair& pair,
                   const std::optional<tensors::DropoutDraw>& draw) {
  if (!draw.has_value() || pair.dropout == 0.0) {
    return x;
  }
  const at::Tensor mask = tensors::dropout_mask(pair, *draw, x.sizes());
  return x * mask.to(x.scalar_type()) / (1.0 - pair.dropout);
}

}  // namespace

Linear Linear::to(at::ScalarType type) const {
  Linear other = *this;
  other.weight = weight.to(type);
  return other;
}

at::Tensor weight_change(const tensors::LowRankPair& pair, at::ScalarType type) {
  return at::matmul(pair.b.to(type), pair.a.to(type)) * pair.scaling;
}

at::Tensor linear(const at::Tensor& x, const Linear& layer) {
  const at::Tensor product = at::matmul(x, layer.weight.t());
  if (layer.pairs.empty()) {
    return product;
  }
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  at::Tensor sum = product.to(wide);
  for (const tensors::LowRankPair& pair : layer.pairs) {
    const at::Tensor input = dropped(x.to(wide), pair, layer.draw);
    sum = sum + at::matmul(input, weight_change(pair, wide).t());
  }
  return sum.to(product.scalar_type());
}

}  // namespace sparity::reference::model
