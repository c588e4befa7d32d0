#include "src/model/layer_call.h"

#include "src/core/fault.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <string>
#include <utility>

namespace sparity::model {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What the backward pass needs besides tensors.
struct KeptCall : torch::CustomClassHolder {
  LayerCall call;
  tensors::Probe probe;
  LayerState state;  // what the first run left, until its outputs have a history
  LayerLosses losses;

  KeptCall(LayerCall a_call, const tensors::Probe& a_probe)
      : call(std::move(a_call)), probe(a_probe) {}
};

at::Tensor as_leaf(const at::Tensor& value) { return value.detach().requires_grad_(true); }

/// Gradients of `inputs`, undefined for those that take none: frozen parameters.
variable_list gradients_of(const variable_list& outputs, const variable_list& cotangents,
                           const variable_list& inputs) {
  variable_list trained;
  for (const at::Tensor& input : inputs) {
    if (input.requires_grad()) {
      trained.push_back(input);
    }
  }
  const variable_list found =
      torch::autograd::grad(outputs, trained, cotangents, /*retain_graph=*/std::nullopt,
                            /*create_graph=*/false, /*allow_unused=*/true);
  variable_list all(inputs.size());
  std::size_t next = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].requires_grad()) {
      all[i] = found[next++];
    }
  }
  return all;
}

/// What a layer leaves that gradients may reach, in a fixed order; what is undefined is left out.
variable_list outputs_of(const LayerState& next, const LayerLosses& losses) {
  variable_list outputs;
  for (const at::Tensor& output : {next.hidden, next.residual, losses.kl, losses.balance}) {
    if (output.defined()) {
      outputs.push_back(output);
    }
  }
  return outputs;
}

/// Inputs: hidden, residual (the embedding has none: hidden stands in), then the parameters.
struct Recomputed : torch::autograd::Function<Recomputed> {
  static variable_list forward(AutogradContext* context, const at::Tensor& hidden,
                               const at::Tensor& residual, bool has_residual,
                               at::TensorList parameters,
                               const c10::intrusive_ptr<KeptCall>& kept) {
    variable_list saved = {hidden, residual};
    saved.insert(saved.end(), parameters.begin(), parameters.end());
    context->save_for_backward(saved);
    context->set_materialize_grads(false);
    context->saved_data["has_residual"] = has_residual;
    context->saved_data["kept"] = c10::IValue::make_capsule(kept);
    kept->state =
        kept->call.run({hidden, has_residual ? residual : at::Tensor()}, kept->probe, kept->losses);
    if (!kept->state.residual.defined()) {
      // A replaced stream: the value belongs to whoever replaced it, and must not get a history.
      kept->state.hidden = kept->state.hidden.clone();
    }
    return outputs_of(kept->state, kept->losses);
  }

  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    const auto kept =
        c10::static_intrusive_pointer_cast<KeptCall>(context->saved_data["kept"].toCapsule());
    const variable_list saved = context->get_saved_variables();
    const bool has_residual = context->saved_data["has_residual"].toBool();
    const at::AutoGradMode recording(true);
    variable_list inputs = {as_leaf(saved[0])};
    if (has_residual) {
      inputs.push_back(as_leaf(saved[1]));
    }
    LayerLosses losses;
    const LayerState next = kept->call.run({inputs[0], has_residual ? inputs[1] : at::Tensor()},
                                           kept->probe.again(), losses);
    const variable_list made = outputs_of(next, losses);
    inputs.insert(inputs.end(), saved.begin() + 2, saved.end());
    variable_list outputs;
    variable_list cotangents;
    for (std::size_t i = 0; i < arrived.size(); ++i) {
      // A loss whose inputs are all frozen has no graph in this layer.
      if (arrived[i].defined() && made[i].requires_grad()) {
        outputs.push_back(made[i]);
        cotangents.push_back(arrived[i]);
      }
    }
    variable_list gradients = gradients_of(outputs, cotangents, inputs);
    if (!has_residual) {
      gradients.insert(gradients.begin() + 1, at::Tensor());
    }
    gradients.insert(gradients.begin() + 2, at::Tensor());  // of has_residual
    gradients.emplace_back();                               // of kept
    return gradients;
  }
};

}  // namespace

LayerState LayerCall::run(const LayerState& state, const tensors::Probe& probe,
                          LayerLosses& losses) const {
  const LayerState next = block.forward(state, *context, probe.layer(index), losses);
  const std::string name = "layers." + std::to_string(index);
  if (probe.wants(name)) {
    const at::Tensor stream = stream_of(next);
    const at::Tensor seen = probe(name, stream);
    if (!seen.is_same(stream)) {
      return {seen, {}};
    }
  }
  probe.sum_gradient(name, {next.hidden, next.residual});
  return next;
}

LayerState run_recomputed(const LayerCall& call, const LayerState& state,
                          const tensors::Probe& probe, LayerLosses& losses) {
  const bool has_residual = state.residual.defined();
  const auto kept = c10::make_intrusive<KeptCall>(call, probe);
  const variable_list outputs =
      Recomputed::apply(state.hidden, has_residual ? state.residual : state.hidden, has_residual,
                        at::TensorList(call.block.differentiable(call.context->objective)), kept);
  losses = std::exchange(kept->losses, {});
  if (losses.load.defined() && core::planted(core::Fault::kF107LoadCountedTwice)) {
    losses.load = losses.load.mul(2);
  }
  LayerState next = std::exchange(kept->state, {});
  std::size_t taken = 0;
  for (at::Tensor* output : {&next.hidden, &next.residual, &losses.kl, &losses.balance}) {
    if (output->defined()) {
      *output = outputs[taken++];
    }
  }
  return next;
}

}  // namespace sparity::model
