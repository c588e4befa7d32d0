#include "suites/cases/suite_context.h"

#include "src/core/philox.h"
#include "src/tensors/at_dtype.h"
#include "suites/judge/tolerances.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>
#include <utility>

namespace sparity::cases {

namespace {

/// Further runs of the baseline, with other roundings. A float64 run is judged by a bound.
constexpr int honest_draws(core::Dtype dtype) { return dtype == core::Dtype::kF64 ? 0 : 3; }

}  // namespace

SuiteContext::SuiteContext(tensors::Checkpoint checkpoint, tensors::Inputs inputs,
                           SuiteOptions options)
    : checkpoint_(std::move(checkpoint)),
      inputs_(std::move(inputs)),
      options_(std::move(options)),
      weights_(checkpoint_.weights.rounded(checkpoint_.manifest, options_.dtype, options_.recipe)),
      candidate_(BoundModel::candidate(checkpoint_, options_.dtype, options_.recipe)),
      baseline_(BoundModel::baseline(checkpoint_, options_.dtype, options_.recipe)
                    .drawn(honest_draws(options_.dtype))),
      truth_(BoundModel::truth(checkpoint_, options_.dtype, options_.recipe)) {}

SuiteContext SuiteContext::with_inputs(tensors::Inputs inputs) const {
  SuiteContext other = *this;
  other.inputs_ = std::move(inputs);
  return other;
}

SuiteContext SuiteContext::with_adapters(Adapters adapters) const {
  SuiteContext other = *this;
  const auto& [dtype, recipe] = std::pair(options_.dtype, options_.recipe);
  other.candidate_ = BoundModel::candidate(checkpoint_, dtype, recipe, adapters);
  other.baseline_ =
      BoundModel::baseline(checkpoint_, dtype, recipe, adapters).drawn(honest_draws(dtype));
  other.truth_ = BoundModel::truth(checkpoint_, dtype, recipe, adapters);
  other.adapters_ = std::move(adapters);
  return other;
}

SuiteContext SuiteContext::dropping(const tensors::DropoutDraw& draw) const {
  SuiteContext other = *this;
  other.candidate_ = candidate_.dropping(draw);
  other.baseline_ = baseline_.dropping(draw);
  other.truth_ = truth_.dropping(draw);
  return other;
}

std::vector<core::ParameterSpec> SuiteContext::differentiated() const {
  if (adapters_.empty()) {
    return checkpoint_.manifest.parameters();
  }
  std::vector<core::ParameterSpec> all;
  for (const tensors::Adapter& adapter : adapters_) {
    for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
      all.push_back({tensors::name_in_memory(tensor.name, adapter.name), tensor.shape, tensor.role,
                     core::KeptDtype::kF32});
    }
  }
  return all;
}

at::ScalarType SuiteContext::activation() const { return tensors::to_scalar_type(options_.dtype); }

at::Tensor SuiteContext::normal(std::string_view name, at::IntArrayRef shape) const {
  const core::RandomStream stream(options_.seed, name);
  at::Tensor values = at::empty(shape, at::kDouble);
  double* out = values.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    out[i] = stream.normal(static_cast<std::uint64_t>(i));
  }
  return values.to(activation());
}

std::int64_t SuiteContext::first_moe_layer() const {
  const auto found = std::ranges::find(config().mlp_layer_types, core::MlpType::kSparse);
  return found == config().mlp_layer_types.end() ? -1 : found - config().mlp_layer_types.begin();
}

std::int64_t SuiteContext::distinct_tokens() const {
  const at::Tensor ids = inputs_.input_ids.masked_select(inputs_.token_mask);
  const std::int64_t* first = ids.const_data_ptr<std::int64_t>();
  return std::ssize(std::set<std::int64_t>(first, first + ids.numel()));
}

std::int64_t SuiteContext::samples() const {
  const at::Tensor ids = inputs_.input_ids.masked_select(inputs_.token_mask);
  const at::Tensor energy =
      weights_.at("model.embed_tokens.weight").index_select(0, ids).to(at::kDouble).square().sum(0);
  const double fourth = energy.square().sum().item().toDouble();
  const double sum = energy.sum().item().toDouble();
  const double channels = fourth > 0 ? sum * sum / fourth : 1.0;
  return std::min(distinct_tokens(), static_cast<std::int64_t>(std::lround(channels)));
}

std::int64_t SuiteContext::reduction_length() const {
  return judge::layer_reduction_length(config(), inputs_.input_ids.size(1));
}

}  // namespace sparity::cases
