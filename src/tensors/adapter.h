#pragma once

#include "src/core/adapter_layout.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace sparity::tensors {

/// A LoRA adapter with its values.
struct Adapter {
  std::string name;  // "default" unless somebody chose another
  core::AdapterConfig config;
  core::AdapterLayout layout;
  std::map<std::string, at::Tensor> tensors;  // exactly those of the layout, by file name
};

/// Reads `folder`/adapter_config.json and adapter_model.safetensors, as PEFT writes them. Values
/// are widened to float32 (F64 stays). Throws (exit code 5) with file and field for what the
/// configuration does not allow, for missing, left-over, misshapen and non-finite tensors, which it
/// lists, and for a layout that the file does not follow.
Adapter load_adapter(const std::filesystem::path& folder, const core::TensorManifest& manifest,
                     const std::string& name);

/// Writes `folder`/adapter_config.json and adapter_model.safetensors, which PEFT 0.21.2 loads onto
/// transformers' DeepseekV32ForCausalLM as the same adapter, and `load_adapter` as this one:
/// scalings of separate experts under rsLoRA within a rounding, all else bit for bit. The
/// configuration comes last, so that nothing half-written is an adapter. Throws (exit code 5) where
/// `core::config_for_peft` does, which who trains calls first, and where the folder holds one.
void save_adapter(const Adapter& adapter, const std::filesystem::path& folder);

/// A new adapter to train (`check_dropout`), in float32, decided by (seed, adapter's name, tensor's
/// name): A as `init_lora_weights` says, B zeros, or with `filled` (for tests) normal with a spread
/// of 0.1, so that both factors matter.
Adapter seeded_adapter(const core::AdapterConfig& config, const core::TensorManifest& manifest,
                       const std::string& name, std::uint64_t seed, const std::string& source,
                       bool filled = false);

/// The first 16 hex digits of a SHA-256 over what the adapters change, by how much, and their
/// values, in their order and whatever they are called; "none" where there are none.
std::string adapters_hash(const std::vector<Adapter>& adapters);

/// The name that PEFT gives a tensor in memory, and gradients have here:
/// "….lora_A.<adapter>.weight".
std::string name_in_memory(const std::string& file_name, const std::string& adapter);

/// A copy of the adapter in `type`, as leaves that gather gradients where `trained` says so.
Adapter as_leaves(const Adapter& adapter, at::ScalarType type, bool trained = true);

/// One pair on one weight: y += scaling · B(A(drop(x))).
struct LowRankPair {
  at::Tensor a;  // [rank, in]
  at::Tensor b;  // [out, rank]
  double scaling = 0;
  double dropout = 0;
  std::string name;  // "<adapter>/<parameter>": unique, and what its dropout is drawn by
};

/// Pairs by the parameter that they change, in order of the adapters.
using AdapterPairs = std::map<std::string, std::vector<LowRankPair>>;

/// Every pair of every adapter. Differentiable views of the adapters' tensors.
AdapterPairs pairs_of(const std::vector<Adapter>& adapters);

/// One training pass, which draws its own dropout.
struct DropoutDraw {
  std::uint64_t seed = 0;
  std::int64_t step = 0;
  std::int64_t micro_batch = 0;
};

/// What dropout leaves of an adapter's input x [B, S, in]: Bool, true with probability 1 −
/// pair.dropout, element by element of (draw, pair.name) alone, so that a pass that is run again
/// draws the same.
at::Tensor dropout_mask(const LowRankPair& pair, const DropoutDraw& draw, at::IntArrayRef sizes);

}  // namespace sparity::tensors
