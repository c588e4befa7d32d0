#include "suites/training/undecided_signs.h"

#include "src/tensors/recorder.h"

#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace sparity::suites::training {

namespace {

using cases::SuiteContext;
using cases::Trace;

constexpr double kSigmas = 8;
constexpr std::int64_t kMostTerms = 32;

/// One product whose sign is open.
struct Product {
  std::int64_t batch;
  std::int64_t query;
  std::int64_t head;
  std::int64_t key;
};

/// A layer's indexer as the truth ran it, in float64.
struct Layer {
  std::string prefix;         // "layers.3.self_attn.indexer."
  at::Tensor q;               // [B, S, Hi, Di]
  at::Tensor k;               // [B, T, Di]
  at::Tensor weights;         // [B, S, Hi]
  at::Tensor score_gradient;  // [B, S, T]
  std::vector<Product> open;
};

at::Tensor wide(const Trace& trace, const std::string& name) {
  return trace.tensors.at(name).to(at::kDouble);
}

/// <q[b,s,h], k[b,t]> of one head, [B, S, T].
at::Tensor products_of(const at::Tensor& q, const at::Tensor& k, std::int64_t head) {
  return at::matmul(q.select(2, head), k.transpose(1, 2));
}

/// ‖q[b,s,h]‖·‖k[b,t]‖, [B, S, T].
at::Tensor sizes_of(const Layer& layer, std::int64_t head) {
  return layer.q.select(2, head).norm(2, -1).unsqueeze(-1).mul(layer.k.norm(2, -1).unsqueeze(1));
}

/// rms over all products of (baseline − truth)/(‖q‖·‖k‖).
double typical_error(const Layer& layer, const Trace& baseline) {
  const at::Tensor q = wide(baseline, layer.prefix + "q");
  const at::Tensor k = wide(baseline, layer.prefix + "k");
  double squares = 0;
  for (std::int64_t head = 0; head < q.size(2); ++head) {
    const at::Tensor error = products_of(q, k, head)
                                 .sub(products_of(layer.q, layer.k, head))
                                 .div(sizes_of(layer, head).clamp_min(1e-300));
    squares += error.square().mean().item<double>();
  }
  return std::sqrt(squares / static_cast<double>(q.size(2)));
}

void find_open(Layer& layer, double error, UndecidedSigns& found) {
  for (std::int64_t head = 0; head < layer.q.size(2); ++head) {
    const at::Tensor passes =
        layer.score_gradient.ne(0).logical_and(layer.weights.select(2, head).ne(0).unsqueeze(-1));
    const at::Tensor open = products_of(layer.q, layer.k, head)
                                .abs()
                                .le(sizes_of(layer, head).mul(kSigmas * error))
                                .logical_and(passes)
                                .nonzero();
    found.products += passes.sum().item<std::int64_t>();
    for (std::int64_t i = 0; i < open.size(0); ++i) {
      layer.open.push_back({open[i][0].item<std::int64_t>(), open[i][1].item<std::int64_t>(), head,
                            open[i][2].item<std::int64_t>()});
    }
  }
  found.undecided += std::ssize(layer.open);
}

/// Layers whose KL loss has a gradient, with their open products.
std::vector<Layer> layers_of(const SuiteContext& context, const ObjectiveTrace& baseline,
                             const ObjectiveTrace& truth, UndecidedSigns& found) {
  std::vector<Layer> layers;
  const Trace& shown = truth.shown.trace;
  for (std::int64_t number = 0; number < context.config().num_hidden_layers; ++number) {
    const std::string prefix = "layers." + std::to_string(number) + ".self_attn.indexer.";
    const auto gradient = shown.tensors.find(tensors::gradient_name(prefix + "scores"));
    if (gradient == shown.tensors.end()) {
      continue;
    }
    Layer layer{prefix,
                wide(shown, prefix + "q"),
                wide(shown, prefix + "k"),
                wide(shown, prefix + "weights"),
                gradient->second.to(at::kDouble),
                {}};
    find_open(layer, typical_error(layer, baseline.shown.trace), found);
    if (std::ssize(layer.open) > kMostTerms) {
      layer.open.clear();
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

/// Gradients that stand for one product's term alone: dq = g·w·k, dk = g·w·q, of the product number
/// `index` of every layer that has so many.
cases::Forced terms(const std::vector<Layer>& layers, std::size_t index) {
  cases::Forced forced;
  for (const Layer& layer : layers) {
    at::Tensor dq = at::zeros_like(layer.q);
    at::Tensor dk = at::zeros_like(layer.k);
    if (index < layer.open.size()) {
      const Product& at = layer.open[index];
      const at::Tensor factor = layer.score_gradient[at.batch][at.query][at.key].mul(
          layer.weights[at.batch][at.query][at.head]);
      dq[at.batch][at.query][at.head].copy_(layer.k[at.batch][at.key].mul(factor));
      dk[at.batch][at.key].copy_(layer.q[at.batch][at.query][at.head].mul(factor));
    }
    forced.emplace(tensors::gradient_name(layer.prefix + "q"), dq);
    forced.emplace(tensors::gradient_name(layer.prefix + "k"), dk);
    forced.emplace(tensors::gradient_name(layer.prefix + "weights"), at::zeros_like(layer.weights));
  }
  return forced;
}

}  // namespace

UndecidedSigns undecided_signs(const SuiteContext& context, core::AttentionMode mode,
                               const core::Objective& objective, const ObjectiveTrace& baseline,
                               const ObjectiveTrace& truth) {
  UndecidedSigns found;
  const std::vector<Layer> layers = layers_of(context, baseline, truth, found);
  std::size_t most = 0;
  for (const Layer& layer : layers) {
    most = std::max(most, layer.open.size());
  }
  const core::Objective kl_alone{.lm = false, .kl = objective.kl, .num_items = objective.num_items};
  for (std::size_t index = 0; index < most; ++index) {
    cases::Forced forced = cases::selections_of(truth.shown.trace);
    forced.merge(terms(layers, index));
    for (const auto& [name, term] :
         trace_objective(context, context.truth(), mode, kl_alone, forced).run.parameters) {
      auto [place, is_new] = found.slack.try_emplace(name, term.abs());
      if (!is_new) {
        place->second = place->second.add(term.abs());
      }
    }
  }
  return found;
}

}  // namespace sparity::suites::training
