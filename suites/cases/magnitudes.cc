#include "suites/cases/magnitudes.h"

#include "reference/model/indexer.h"
#include "src/tensors/recorder.h"
#include "suites/cases/case.h"
#include "suites/judge/error_stats.h"

#include <ATen/ops/norm.h>
#include <ATen/ops/softmax.h>

#include <limits>
#include <string_view>

namespace sparity::cases {

namespace {

/// kl_cancellation of a layer's KL loss. Not set where the truth shows no such loss.
std::optional<double> cancellation(const std::string& layer, const Shown& truth) {
  const std::string indexer = layer + ".self_attn.indexer.";
  const at::Tensor target = truth(indexer + "kl_target");
  const at::Tensor scores = truth(indexer + "scores");
  const at::Tensor gradient = truth(tensors::gradient_name(indexer + "scores"));
  return !target.defined() || !scores.defined() || !gradient.defined()
             ? std::nullopt
             : kl_cancellation(scores, target, gradient);
}

}  // namespace

std::optional<double> kl_cancellation(const at::Tensor& scores, const at::Tensor& target,
                                      const at::Tensor& score_gradient) {
  const at::Tensor absent = score_gradient.eq(0.0);
  const at::Tensor q = scores.masked_fill(absent, -std::numeric_limits<double>::infinity())
                           .softmax(-1)
                           .masked_fill(absent, 0.0);
  const at::Tensor p = target.masked_fill(absent, 0.0);
  const double difference = q.sub(p).norm().item<double>();
  return difference > 0 ? std::optional(q.norm().add(p.norm()).item<double>() / difference)
                        : std::nullopt;
}

std::optional<double> summed_size(const std::string& name, const Shown& truth,
                                  const at::Tensor& of_truth) {
  const std::size_t layer = name.find("layers.");
  if (layer == std::string::npos) {
    return std::nullopt;
  }
  const std::size_t end = name.find('.', layer + std::string_view("layers.").size());
  const std::string layer_name = name.substr(layer, end - layer);
  if (name.find(".indexer.") != std::string::npos) {
    if (const auto factor = cancellation(layer_name, truth)) {
      return *factor * judge::rms(judged(of_truth).values);
    }
  }
  const at::Tensor arriving = truth(tensors::gradient_name(layer_name));
  return arriving.defined() ? std::optional(judge::rms(judged(arriving).values)) : std::nullopt;
}

at::Tensor score_terms(const std::string& name, const Shown& truth) {
  constexpr std::string_view kScores = ".scores";
  if (!name.ends_with(kScores)) {
    return {};
  }
  const std::string prefix = name.substr(0, name.size() - kScores.size());
  const auto size = [&](const char* operand) {
    const at::Tensor value = truth(prefix + operand);
    return value.defined() ? value.to(at::kDouble).abs() : value;
  };
  const at::Tensor weights = size(".weights");
  const at::Tensor q = size(".q");
  const at::Tensor k = size(".k");
  const at::Tensor scores = truth(name);
  if (!weights.defined() || !q.defined() || !k.defined() || !scores.defined()) {
    return {};
  }
  return reference::model::index_scores(q, k, weights, scores.isfinite());
}

}  // namespace sparity::cases
