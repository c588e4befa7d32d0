#include "reference/scalar/router.h"

#include "reference/scalar/indexer.h"

#include <cmath>
#include <limits>
#include <stdexcept>

namespace sparity::reference::scalar {
namespace {

constexpr double kOut = -std::numeric_limits<double>::infinity();

/// Sum of the two largest of at least two values.
double best_two(std::span<const double> values) {
  double first = kOut;
  double second = kOut;
  for (const double value : values) {
    if (value > first) {
      second = first;
      first = value;
    } else if (value > second) {
      second = value;
    }
  }
  return first + second;
}

/// `choice` with every expert outside the best groups at −∞.
std::vector<double> limited(std::span<const double> choice, const RouterRule& rule) {
  const std::size_t group_size = choice.size() / rule.n_group;
  std::vector<double> worth;
  for (std::size_t group = 0; group < rule.n_group; ++group) {
    worth.push_back(best_two(choice.subspan(group * group_size, group_size)));
  }
  std::vector<double> eligible(choice.size(), kOut);
  for (const std::int64_t group : topk_indices(worth, rule.topk_group)) {
    for (std::size_t i = 0; i < group_size; ++i) {
      const std::size_t expert = static_cast<std::size_t>(group) * group_size + i;
      eligible[expert] = choice[expert];
    }
  }
  return eligible;
}

}  // namespace

TokenRouting route(std::span<const double> logits, std::span<const double> bias,
                   const RouterRule& rule) {
  if (rule.n_group == 0 || logits.size() % rule.n_group != 0 || logits.size() / rule.n_group < 2) {
    throw std::invalid_argument("route: experts do not fall into equal groups of two or more");
  }
  TokenRouting routing;
  std::vector<double> choice;
  for (std::size_t expert = 0; expert < logits.size(); ++expert) {
    routing.scores.push_back(1.0 / (1.0 + std::exp(-logits[expert])));
    choice.push_back(routing.scores.back() + bias[expert]);
  }
  routing.indices = topk_indices(limited(choice, rule), rule.num_experts_per_tok);
  double sum = 0.0;
  for (const std::int64_t expert : routing.indices) {
    routing.weights.push_back(routing.scores.at(static_cast<std::size_t>(expert)));
    sum += routing.weights.back();
  }
  for (double& weight : routing.weights) {
    weight *= rule.routed_scaling_factor / (rule.norm_topk_prob ? sum : 1.0);
  }
  return routing;
}

}  // namespace sparity::reference::scalar
