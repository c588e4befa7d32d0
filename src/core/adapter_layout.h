#pragma once

#include "src/core/adapter_config.h"
#include "src/core/tensor_manifest.h"

#include <cstdint>
#include <string>
#include <vector>

namespace sparity::core {

/// What an adapter's file says of one pair.
struct AdapterSize {
  std::int64_t rank = 0;
  double scaling = 0;
};

/// A low-rank pair and the linear weight [out, in] that it changes: W + scaling · B · A, with A
/// [rank, in] and B [out, rank].
struct AdapterPair {
  std::string parameter;  // "model.layers.0.self_attn.q_a_proj.weight"
  std::string a;          // the tensors that hold the pair, by their names in the adapter's file
  std::string b;
  std::int64_t rank = 0;
  double scaling = 0;
  /// Of stacked experts, `a` is [experts · rank, in], expert by expert, and `b` [rows, rank ·
  /// experts], where all experts of one rank index lie side by side; `b` has the rows of this
  /// matrix from `first_row` on (gate's, then up's). Otherwise 1, 0, 0.
  std::int64_t experts = 1;
  std::int64_t expert = 0;
  std::int64_t first_row = 0;
};

/// A tensor of an adapter's file.
struct AdapterTensor {
  std::string name;  // "base_model.model.model.layers.0.self_attn.q_a_proj.lora_A.weight"
  std::vector<std::int64_t> shape;
  bool is_a = false;  // else a B
  std::int64_t rank = 0;
  ParameterRole role = ParameterRole::kAttention;  // of the weights that it changes

  std::int64_t numel() const;
};

/// Which weights of a model an adapter changes, and where its file keeps what. Modules are those of
/// the checkpoint, so that every routed expert is one of three linear modules; the router counts as
/// one ("mlp.gate"), as does the head. A module is matched as PEFT 0.21.2 does (spec
/// build-ground 4.2): `exclude_modules` first; then by `target_modules` and, where those are a
/// list, `layers_to_transform`; or by `target_parameters`. `rank_pattern` and `alpha_pattern` match
/// the module's name, or the parameter's where it was matched as one.
class AdapterLayout {
 public:
  /// Throws (exit code 5, starting with `source`) for each listed name and each pattern that
  /// matches nothing (PEFT is silent unless none does), with the names that come nearest; for
  /// modules that are no linear weight (embedding, norms), by name; where two patterns of a kind
  /// match one module and differ, unless `overlap` lets them; where a stacked target and a separate
  /// one meet in one expert.
  AdapterLayout(const AdapterConfig& config, const TensorManifest& manifest,
                const std::string& source, Overlap overlap = Overlap::kRefused);

  /// In checkpoint order of the parameters.
  const std::vector<AdapterPair>& pairs() const { return pairs_; }
  /// In order of the first pair that uses each; A before B.
  const std::vector<AdapterTensor>& tensors() const { return tensors_; }
  /// Linear weights that are not adapted, in checkpoint order.
  const std::vector<std::string>& left_alone() const { return left_alone_; }
  std::int64_t parameter_count() const;

 private:
  std::vector<AdapterPair> pairs_;
  std::vector<AdapterTensor> tensors_;
  std::vector<std::string> left_alone_;
};

/// Throws (exit code 5, starting with `source`) where `lora_dropout` is not 0 and kv_b_proj or a
/// routed expert is adapted, whose weight is changed before it sees an input. To be asked before
/// training; in evaluation nothing drops out.
void check_dropout(const AdapterConfig& config, const AdapterLayout& layout,
                   const std::string& source);

}  // namespace sparity::core
