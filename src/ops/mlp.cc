#include "src/ops/mlp.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

namespace sparity::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A(silu(f32(gate)) · f32(up)), elementwise in one pass.
at::Tensor swiglu_values(const at::Tensor& gate, const at::Tensor& up) {
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

struct Swiglu : torch::autograd::Function<Swiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate,
                            const at::Tensor& up) {
    context->save_for_backward({gate, up});
    return swiglu_values(gate, up);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const SwigluGradients found = swiglu_backward(saved[0], saved[1], gradients[0].contiguous());
    return {found.gate, found.up};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) { return Swiglu::apply(gate, up); }

SwigluGradients swiglu_backward(const at::Tensor& gate, const at::Tensor& up,
                                const at::Tensor& dy) {
  SwigluGradients found{at::empty_like(gate), at::empty_like(up)};
  const bool without_slope = core::planted(core::Fault::kF72SiluSlopeIsSigmoid);
  dispatch_activation(gate.scalar_type(), [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    const T* g = gate.const_data_ptr<T>();
    const T* u = up.const_data_ptr<T>();
    const T* back = dy.const_data_ptr<T>();
    T* dg = found.gate.mutable_data_ptr<T>();
    T* du = found.up.mutable_data_ptr<T>();
    at::parallel_for(0, gate.numel(), 32768, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const W z = static_cast<W>(g[i]);
        const W sigmoid = W(1) / (W(1) + std::exp(-z));
        const W slope = without_slope ? sigmoid : sigmoid * (W(1) + z * (W(1) - sigmoid));
        const W d = static_cast<W>(back[i]);
        dg[i] = static_cast<T>(d * static_cast<W>(u[i]) * slope);
        du[i] = static_cast<T>(d * z * sigmoid);
      }
    });
  });
  return found;
}

at::Tensor mlp(const at::Tensor& x, const MlpWeights& weights,
               const std::optional<tensors::DropoutDraw>& draw) {
  const at::Tensor gate = linear(x, weights.gate_proj, draw).contiguous();
  const at::Tensor up = linear(x, weights.up_proj, draw).contiguous();
  return linear(swiglu(gate, up), weights.down_proj, draw);
}

}  // namespace sparity::ops
