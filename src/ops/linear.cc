#include "src/ops/linear.h"

#include "src/core/error.h"
#include "src/tensors/at_dtype.h"

#include <ATen/ops/linear.h>

namespace sparity::ops {

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight) {
  SPARITY_CHECK(x.scalar_type() == weight.scalar_type(), "linear: x and weight differ in dtype");
  return at::linear(x, weight);
}

at::Tensor wide_linear(const at::Tensor& x, const at::Tensor& weight) {
  const at::ScalarType wide = tensors::at_least_f32(x.scalar_type());
  return at::linear(x.to(wide), weight.to(wide));
}

at::Tensor embedding(const at::Tensor& ids, const at::Tensor& table) {
  return table.index_select(0, ids.reshape({-1})).view({ids.size(0), ids.size(1), table.size(1)});
}

}  // namespace sparity::ops
