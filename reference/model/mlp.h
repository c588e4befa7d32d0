#pragma once

#include "reference/model/linear.h"
#include "src/core/forward_options.h"

#include <ATen/core/Tensor.h>

namespace sparity::reference::model {

/// A gated MLP: a dense layer's, a routed expert's or the shared experts' (I is its width).
struct MlpWeights {
  Linear gate_proj;  // [I, D]
  Linear up_proj;    // [I, D]
  Linear down_proj;  // [D, I]
};

/// silu(gate) · up with silu(a) = a · sigmoid(a). Both [..., I] in the activation dtype, as is the
/// result. Under `official` the product is f32 and rounded once; under `hf` silu is rounded before
/// the product (D-33). Spec 2.10.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up, core::Recipe recipe);

/// down_proj(swiglu(gate_proj(x), up_proj(x))). x [..., D] → [..., D] in the activation dtype.
/// Spec 2.10.
at::Tensor mlp(const at::Tensor& x, const MlpWeights& weights, core::Recipe recipe);

}  // namespace sparity::reference::model
