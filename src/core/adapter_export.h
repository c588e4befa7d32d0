#pragma once

#include "src/core/adapter_config.h"
#include "src/core/adapter_layout.h"

#include <string>

namespace sparity::core {

/// The configuration under which PEFT 0.21.2 loads an adapter of this layout onto transformers'
/// DeepseekV32ForCausalLM as what it is, and from which `AdapterLayout` is the same again: whatever
/// `config` says by expressions, exclusions and layers is written out in the shortest names that
/// mean exactly what is adapted.
///
/// That model's experts are stacked, its router is no linear module, and PEFT takes every target
/// called gate_proj, up_proj, down_proj or gate for the experts and the router of all layers. Dense
/// and shared matrices and routers are therefore named in `target_parameters`; separate experts
/// stay in `target_modules`, which PEFT stacks with their tensors as it loads them, with twice the
/// rank and alpha for gate and up, for which a pattern keeps the scaling where that is not enough
/// (rsLoRA, a rank of their own).
///
/// Throws (exit code 5, starting with `source`) for what PEFT cannot load so: `lora_dropout` with a
/// dense, shared or router matrix; experts adapted one by one of which a layer lacks some, or
/// gate_proj or up_proj without the other or without down_proj, or with differing ranks or
/// scalings.
AdapterConfig config_for_peft(const AdapterConfig& config, const AdapterLayout& layout,
                              const std::string& source);

}  // namespace sparity::core
