#include "reference/model/mlp.h"

#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/sigmoid.h>

namespace sparity::reference::model {

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up, core::Recipe recipe) {
  const at::ScalarType activation = gate.scalar_type();
  const at::Tensor wide = gate.to(tensors::at_least_f32(activation));
  const at::Tensor silu = wide * at::sigmoid(wide);
  if (recipe == core::Recipe::kHf) {
    return silu.to(activation) * up;
  }
  return (silu * up.to(silu.scalar_type())).to(activation);
}

at::Tensor mlp(const at::Tensor& x, const MlpWeights& weights, core::Recipe recipe) {
  return linear(swiglu(linear(x, weights.gate_proj), linear(x, weights.up_proj), recipe),
                weights.down_proj);
}

}  // namespace sparity::reference::model
