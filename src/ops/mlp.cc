#include "src/ops/mlp.h"

#include "src/ops/dispatch.h"
#include "src/ops/linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>

#include <cmath>

namespace sparity::ops {

namespace {

/// A(silu(f32(gate)) · f32(up)), elementwise in one pass.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor product = at::empty_like(gate);
  dispatch_activation(gate.scalar_type(), [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    const T* g = gate.const_data_ptr<T>();
    const T* u = up.const_data_ptr<T>();
    T* out = product.mutable_data_ptr<T>();
    at::parallel_for(0, gate.numel(), 32768, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const W z = static_cast<W>(g[i]);
        out[i] = static_cast<T>(z / (W(1) + std::exp(-z)) * static_cast<W>(u[i]));
      }
    });
  });
  return product;
}

}  // namespace

at::Tensor mlp(const at::Tensor& x, const MlpWeights& weights) {
  const at::Tensor gate = linear(x, weights.gate_proj).contiguous();
  const at::Tensor up = linear(x, weights.up_proj).contiguous();
  return linear(swiglu(gate, up), weights.down_proj);
}

}  // namespace sparity::ops
