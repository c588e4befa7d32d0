#include "src/tensors/replace_value.h"

#include <torch/csrc/autograd/custom_function.h>

namespace sparity::tensors {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct ReplaceValue : torch::autograd::Function<ReplaceValue> {
  static at::Tensor forward(AutogradContext*, const at::Tensor&, const at::Tensor& replacement) {
    return replacement.clone();
  }
  static variable_list backward(AutogradContext*, const variable_list& gradients) {
    return {gradients[0], at::Tensor()};
  }
};

}  // namespace

at::Tensor replace_value(const at::Tensor& value, const at::Tensor& replacement) {
  return value.requires_grad() ? ReplaceValue::apply(value, replacement) : replacement;
}

}  // namespace sparity::tensors
