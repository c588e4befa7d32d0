#pragma once

#include "src/core/dtype.h"
#include "src/core/forward_options.h"
#include "src/core/model_config.h"

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace sparity::core {

/// What a parameter is: decides optimizer groups, freezing and how a seeded checkpoint fills it.
enum class ParameterRole {
  kEmbedding,  // embed_tokens
  kHead,       // lm_head
  kNormGain,   // RMSNorm weights
  kAttention,  // MLA projections
  kIndexer,    // wq_b, wk, weights_proj
  kIndexerNormGain,
  kIndexerNormBias,
  kRouter,      // mlp.gate.weight
  kRouterBias,  // e_score_correction_bias: a buffer, never trained by gradient
  kMlp,         // dense MLP
  kExpert,      // routed experts
  kSharedExpert,
};

/// The dtype that a parameter keeps while activations are bfloat16.
enum class KeptDtype {
  kActivation,   // follows the activation dtype
  kF32Official,  // float32 under the official recipe, the activation dtype under hf
  kF32,          // float32 always
};

struct ParameterSpec {
  std::string name;  // as in released checkpoints: "model.layers.0.self_attn.q_a_proj.weight"
  std::vector<std::int64_t> shape;
  ParameterRole role = ParameterRole::kAttention;
  KeptDtype kept = KeptDtype::kActivation;

  std::int64_t numel() const;
};

/// The dtype in which a run in `activation` dtype stores this parameter: `activation`, widened to
/// float32 where `spec.kept` asks for that (a float64 run stores everything in float64).
Dtype stored_dtype(const ParameterSpec& spec, Dtype activation, Recipe recipe);

/// Every parameter of a model, in checkpoint order, once (spec 3.1). Whatever binds, shards, fills,
/// counts or trains parameters asks here.
class TensorManifest {
 public:
  /// Validates `config`; throws (exit code 5) when it breaks a rule or has 2^63 parameters or more.
  explicit TensorManifest(const ModelConfig& config);

  const std::vector<ParameterSpec>& parameters() const { return parameters_; }
  bool contains(const std::string& name) const { return index_.contains(name); }
  /// Throws (exit code 6) when there is none of that name.
  const ParameterSpec& at(const std::string& name) const;
  /// Numbers, router biases included.
  std::int64_t parameter_count() const;
  std::int64_t indexer_parameter_count() const;
  /// True for `model.layers.{num_hidden_layers}.*`, the multi-token-prediction layer, which is
  /// reported and left alone.
  bool is_mtp(const std::string& name) const;

 private:
  std::vector<ParameterSpec> parameters_;
  std::int64_t total_ = 0;
  std::unordered_map<std::string, std::size_t> index_;
  std::string mtp_prefix_;
};

}  // namespace sparity::core
