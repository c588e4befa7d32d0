#include "src/core/error.h"
#include "src/core/philox.h"
#include "src/tensors/at_dtype.h"
#include "src/tensors/checkpoint.h"
#include "src/tensors/inputs.h"

#include <ATen/ops/empty.h>

#include <cmath>
#include <map>
#include <utility>

namespace sparity::tensors {

namespace {

/// value = centre + spread · normal.
struct Fill {
  double centre = 0;
  double spread = 1;
};

Fill fill_of(const core::ParameterSpec& parameter) {
  using enum core::ParameterRole;
  switch (parameter.role) {
    case kEmbedding:
      return {0.0, 1.0};
    case kNormGain:
    case kIndexerNormGain:
      return {1.0, 0.2};
    case kIndexerNormBias:
      return {0.0, 0.2};
    case kRouterBias:
      // Scores lie in (0, 1): biases of this size change the choice and make some biased scores
      // negative.
      return {-0.2, 0.3};
    case kRouter:
      // Twice the usual spread: experts' loads differ, and some stay without a token.
      return {0.0, 2.0 / std::sqrt(static_cast<double>(parameter.shape.back()))};
    case kHead:
    case kAttention:
    case kIndexer:
    case kMlp:
    case kExpert:
    case kSharedExpert:
      return {0.0, 1.0 / std::sqrt(static_cast<double>(parameter.shape.back()))};
  }
  core::throw_error(core::ExitCode::kHarnessFault, "unknown ParameterRole", __FILE__, __LINE__);
}

at::Tensor filled(const core::ParameterSpec& parameter, std::uint64_t seed) {
  const core::RandomStream stream(seed, parameter.name);
  const Fill fill = fill_of(parameter);
  at::Tensor values = at::empty(parameter.shape, at::kFloat);
  float* out = values.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    out[i] = static_cast<float>(fill.centre +
                                fill.spread * stream.normal(static_cast<std::uint64_t>(i)));
  }
  return values;
}

}  // namespace

Checkpoint seeded_checkpoint(const core::ModelConfig& config, std::uint64_t seed,
                             core::Dtype dtype) {
  core::TensorManifest manifest(config);
  std::map<std::string, at::Tensor> tensors;
  for (const core::ParameterSpec& parameter : manifest.parameters()) {
    const bool stays_f32 = dtype == core::Dtype::kBF16 && parameter.kept == core::KeptDtype::kF32;
    tensors.emplace(parameter.name,
                    filled(parameter, seed).to(stays_f32 ? at::kFloat : to_scalar_type(dtype)));
  }
  WeightStore weights(manifest, std::move(tensors), "seeded checkpoint");
  return {config, std::move(manifest), std::move(weights), {}};
}

Inputs seeded_inputs(const core::ModelConfig& config, std::uint64_t seed, std::int64_t tokens) {
  const core::RandomStream stream(seed, "input_ids");
  const std::int64_t short_row = std::max<std::int64_t>(1, tokens * 7 / 10);
  Inputs inputs;
  inputs.input_ids = at::empty({2, tokens}, at::kLong);
  inputs.token_mask = at::empty({2, tokens}, at::kBool);
  inputs.position_ids = at::empty({2, tokens}, at::kLong);
  inputs.labels = at::empty({2, tokens}, at::kLong);
  auto* ids = inputs.input_ids.mutable_data_ptr<std::int64_t>();
  auto* labels = inputs.labels.mutable_data_ptr<std::int64_t>();
  auto* positions = inputs.position_ids.mutable_data_ptr<std::int64_t>();
  auto* mask = inputs.token_mask.mutable_data_ptr<bool>();
  for (std::int64_t i = 0; i < 2 * tokens; ++i) {
    const std::int64_t column = i % tokens;
    mask[i] = i < tokens || column < short_row;
    ids[i] = static_cast<std::int64_t>(
        stream.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(config.vocab_size)));
    labels[i] = mask[i] ? ids[i] : -100;
    positions[i] = column;
  }
  return inputs;
}

}  // namespace sparity::tensors
