#pragma once

#include "src/core/model_config.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace sparity::tensors {

/// What a forward pass is given. B rows of S tokens.
struct Inputs {
  at::Tensor input_ids;     // I64 [B, S]
  at::Tensor token_mask;    // Bool [B, S], true = token; always defined
  at::Tensor position_ids;  // I64 [B, S]; feeds RoPE only
  at::Tensor labels;        // I64 [B, S] or undefined; not shifted, −100 ignored
  /// Bool [B, S, S], true = may attend; undefined = every token. Causality is added by the model in
  /// any case. Comes from bool or additive attention masks.
  at::Tensor pair_mask;
  std::vector<std::string> warnings;
};

/// Turns any mask that callers pass into `token_mask` or `pair_mask` terms: I64 or Bool [B, S] (1 =
/// token), Bool [B, S, S] or [B, 1, S, S], floating [B, S, S] or [B, 1, S, S] with additive values
/// 0 (attend), or −inf or anything ≤ finfo(dtype).min / 2 (don't). Other values throw (exit code
/// 5).
void apply_attention_mask(const at::Tensor& mask, const std::string& source, Inputs& inputs);

/// Reads `input_ids`, and where present `attention_mask`, `position_ids`, `labels`, and checks them
/// against each other and the config (exit code 5 with file and field). Unknown tensors are refused
/// by name.
Inputs read_inputs(const std::filesystem::path& path, const core::ModelConfig& config);

/// Two rows of S and about 0.7 S tokens (the second right-padded), every token also a label.
Inputs seeded_inputs(const core::ModelConfig& config, std::uint64_t seed, std::int64_t tokens);

void write_inputs(const Inputs& inputs, const std::filesystem::path& path);

}  // namespace sparity::tensors
