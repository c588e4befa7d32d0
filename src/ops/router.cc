#include "src/ops/router.h"

#include "src/core/error.h"
#include "src/core/fault.h"
#include "src/ops/dispatch.h"
#include "src/ops/linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sigmoid.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace sparity::ops {

namespace {

using core::Fault;
using core::planted;

/// Chooses the experts of one token; reused from token to token.
template <typename W>
class ExpertChoice {
 public:
  explicit ExpertChoice(const core::ModelConfig& config)
      : groups_(config.n_group),
        chosen_groups_(config.topk_group),
        per_group_(config.n_routed_experts / config.n_group),
        chosen_experts_(config.num_experts_per_tok),
        choice_(static_cast<std::size_t>(config.n_routed_experts)),
        group_score_(static_cast<std::size_t>(config.n_group)),
        order_(static_cast<std::size_t>(config.n_routed_experts)) {}

  void choose(const W* scores, const W* bias, std::int64_t* out) {
    for (std::size_t e = 0; e < choice_.size(); ++e) {
      choice_[e] = scores[e] + bias[e];
    }
    close_weak_groups();
    best(choice_, chosen_experts_);
    std::copy_n(order_.begin(), chosen_experts_, out);
  }

 private:
  /// Whether a ranks above b: NaN above every number, as in the choice of keys.
  static bool above(W a, W b) { return a > b || (std::isnan(a) && !std::isnan(b)); }

  /// order_[0, count) = places of the `count` best values, by (value descending, place ascending).
  void best(const std::vector<W>& values, std::int64_t count) {
    const auto end = order_.begin() + std::ssize(values);
    std::iota(order_.begin(), end, 0);
    std::partial_sort(order_.begin(), order_.begin() + count, end,
                      [&](std::int64_t a, std::int64_t b) {
                        const W va = values[static_cast<std::size_t>(a)];
                        const W vb = values[static_cast<std::size_t>(b)];
                        return above(va, vb) || (!above(vb, va) && a < b);
                      });
  }

  W group_score(std::int64_t group) const {
    W first = -std::numeric_limits<W>::infinity();
    W second = first;
    for (std::int64_t e = group * per_group_; e < (group + 1) * per_group_; ++e) {
      const W value = choice_[static_cast<std::size_t>(e)];
      if (above(value, first)) {
        second = std::exchange(first, value);
      } else if (above(value, second)) {
        second = value;
      }
    }
    return planted(Fault::kF20GroupScoreMax) ? first : first + second;
  }

  void close_weak_groups() {
    for (std::int64_t g = 0; g < groups_; ++g) {
      group_score_[static_cast<std::size_t>(g)] = group_score(g);
    }
    best(group_score_, groups_);
    const W closed =
        planted(Fault::kF21MaskedGroupsZero) ? W(0) : -std::numeric_limits<W>::infinity();
    for (std::int64_t i = chosen_groups_; i < groups_; ++i) {
      const std::int64_t first = order_[static_cast<std::size_t>(i)] * per_group_;
      std::fill_n(choice_.begin() + first, per_group_, closed);
    }
  }

  std::int64_t groups_;
  std::int64_t chosen_groups_;
  std::int64_t per_group_;
  std::int64_t chosen_experts_;
  std::vector<W> choice_;
  std::vector<W> group_score_;
  std::vector<std::int64_t> order_;
};

void check_forced(const at::Tensor& indices, std::int64_t experts) {
  SPARITY_CHECK_INPUT(!indices.lt(0).logical_or(indices.ge(experts)).any().item().toBool(),
                      "forced topk_indices: expected experts from 0 to " +
                          std::to_string(experts - 1) + ", found another");
}

}  // namespace

at::Tensor routing_scores(const at::Tensor& x, const LinearWeight& weight,
                          const std::optional<tensors::DropoutDraw>& draw) {
  return at::sigmoid(wide_linear(x, weight, draw));
}

at::Tensor select_experts(const at::Tensor& scores, const at::Tensor& bias,
                          const core::ModelConfig& config) {
  const std::int64_t experts = config.n_routed_experts;
  const std::int64_t width = config.num_experts_per_tok;
  const at::Tensor scores_in = scores.contiguous();
  const at::Tensor given = planted(Fault::kF105SelectionBiasInBf16) ? bias.to(at::kBFloat16) : bias;
  const at::Tensor bias_in = given.to(scores.scalar_type()).contiguous();
  at::Tensor indices = at::empty({scores.size(0), scores.size(1), width}, at::kLong);
  dispatch_wide(scores.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    const W* score = scores_in.const_data_ptr<W>();
    const W* b = bias_in.const_data_ptr<W>();
    auto* out = indices.mutable_data_ptr<std::int64_t>();
    at::parallel_for(0, scores.numel() / experts, 64, [&](std::int64_t begin, std::int64_t end) {
      ExpertChoice<W> choice(config);
      for (std::int64_t n = begin; n < end; ++n) {
        choice.choose(score + n * experts, b, out + n * width);
      }
    });
  });
  return indices;
}

at::Tensor routing_weights(const at::Tensor& scores, const at::Tensor& indices,
                           const at::Tensor& bias, const core::ModelConfig& config) {
  at::Tensor source = scores;
  if (planted(Fault::kF19BiasInGateWeights)) {
    source = scores.add(bias);
  } else if (planted(Fault::kF23WeightFromBiasedScore)) {
    source = scores.add(bias).sub(bias);
  }
  at::Tensor weights = source.gather(-1, indices);
  if (config.norm_topk_prob || planted(Fault::kF106NormTopkProbIgnored)) {
    weights = weights.div(weights.sum(-1, true));
  }
  return planted(Fault::kF22RoutedScalingDropped) ? weights
                                                  : weights.mul(config.routed_scaling_factor);
}

Routing route(const at::Tensor& x, const LinearWeight& weight, const at::Tensor& bias,
              const core::ModelConfig& config, const tensors::Probe& probe,
              const std::optional<tensors::DropoutDraw>& draw) {
  const at::Tensor scores = probe("scores", routing_scores(x, weight, draw));
  const at::Tensor chosen = select_experts(scores, bias, config);
  const at::Tensor indices = probe("topk_indices", chosen);
  if (!indices.is_same(chosen)) {
    check_forced(indices, config.n_routed_experts);
  }
  return {indices, probe("topk_weights", routing_weights(scores, indices, bias, config)), scores};
}

}  // namespace sparity::ops
