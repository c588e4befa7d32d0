#pragma once

#include <cstdint>
#include <string>

namespace sparity::core {

/// "model.layers.0.self_attn.q_a_proj" of "model.layers.0.self_attn.q_a_proj.weight".
std::string module_of(const std::string& parameter);

/// Where a routed expert's matrix lies in transformers' model, which stacks a layer's experts in
/// `gate_up_proj` [experts, 2 · I, H] and `down_proj` [experts, H, I].
struct ExpertPlace {
  std::string experts;      // "model.layers.1.mlp.experts"
  std::string stacked;      // the stacked parameter: "model.layers.1.mlp.experts.gate_up_proj"
  std::int64_t expert = 0;  // which of them
  bool fused = false;       // gate_proj or up_proj, which share a stacked parameter
  bool second = false;      // up_proj: the rows after gate_proj's
};

/// True for routed experts' modules and parameters.
bool lies_in_experts(const std::string& name);

/// Of a routed expert's module, "model.layers.1.mlp.experts.3.up_proj".
ExpertPlace expert_place(const std::string& module);

}  // namespace sparity::core
