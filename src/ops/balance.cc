#include "src/ops/balance.h"

#include "src/core/fault.h"
#include "src/ops/dispatch.h"

#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace sparity::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Tokens [begin, end) of the flattened batch that are balanced together.
struct Range {
  std::int64_t begin;
  std::int64_t end;
};

std::vector<Range> ranges_of(const at::Tensor& token_mask, core::BalanceScope scope) {
  const std::int64_t rows = token_mask.size(0);
  const std::int64_t tokens = token_mask.size(1);
  if (scope == core::BalanceScope::kBatch) {
    return {{0, rows * tokens}};
  }
  std::vector<Range> ranges;
  for (std::int64_t b = 0; b < rows; ++b) {
    ranges.push_back({b * tokens, (b + 1) * tokens});
  }
  return ranges;
}

/// The K best of E scores, ties to the lower expert, in `order`'s first K places.
template <typename W>
void best_experts(const W* scores, std::int64_t count, std::vector<std::int64_t>& order) {
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [scores](std::int64_t a, std::int64_t b) {
                      return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
                    });
}

/// Sums over one range, and what its gradient needs.
struct Balance {
  std::int64_t tokens = 0;
  std::vector<double> chosen;  // [E] tokens that chose expert i
  std::vector<double> shares;  // [E] Σ_t s[t,i] / Σ_j s[t,j]

  double fraction(std::size_t expert, std::int64_t k) const {
    return static_cast<double>(chosen.size()) * chosen[expert] / static_cast<double>(k * tokens);
  }
  double loss(std::int64_t k) const {
    double sum = 0;
    for (std::size_t i = 0; i < chosen.size() && tokens > 0; ++i) {
      sum += fraction(i, k) * shares[i] / static_cast<double>(tokens);
    }
    return sum;
  }
};

/// The operands as plain memory.
template <typename W>
struct View {
  const W* scores;
  const std::int64_t* chosen;  // nullptr: the best unbiased scores
  const bool* is_token;
  std::int64_t experts;
  std::int64_t k;
};

template <typename W>
Balance balance_of(const View<W>& view, const Range& range) {
  Balance balance;
  balance.chosen.resize(static_cast<std::size_t>(view.experts));
  balance.shares.resize(static_cast<std::size_t>(view.experts));
  std::vector<std::int64_t> order(static_cast<std::size_t>(view.experts));
  for (std::int64_t t = range.begin; t < range.end; ++t) {
    if (!view.is_token[t]) {
      continue;
    }
    ++balance.tokens;
    const W* scores = view.scores + t * view.experts;
    if (view.chosen == nullptr) {
      best_experts(scores, view.k, order);
    }
    const std::int64_t* choice = view.chosen == nullptr ? order.data() : view.chosen + t * view.k;
    for (std::int64_t i = 0; i < view.k; ++i) {
      balance.chosen[static_cast<std::size_t>(choice[i])] += 1;
    }
    const double sum = std::accumulate(scores, scores + view.experts, 0.0);
    for (std::int64_t i = 0; i < view.experts; ++i) {
      balance.shares[static_cast<std::size_t>(i)] += static_cast<double>(scores[i]) / sum;
    }
  }
  return balance;
}

/// With c_i = f_i / n, the loss's slope in a token's normalised score: ds_j = (c_j − Σ_i c_i s'_i)
/// / Σ s.
template <typename W>
void gradient_of(const View<W>& view, const Range& range, const Balance& balance, double scale,
                 W* out) {
  for (std::int64_t t = range.begin; t < range.end; ++t) {
    if (!view.is_token[t]) {
      continue;
    }
    const W* scores = view.scores + t * view.experts;
    const double sum = std::accumulate(scores, scores + view.experts, 0.0);
    const double slope = scale / static_cast<double>(balance.tokens);
    double mean = 0;
    for (std::int64_t i = 0; i < view.experts; ++i) {
      mean += balance.fraction(static_cast<std::size_t>(i), view.k) *
              static_cast<double>(scores[i]) / sum;
    }
    for (std::int64_t i = 0; i < view.experts; ++i) {
      out[t * view.experts + i] = static_cast<W>(
          slope * (balance.fraction(static_cast<std::size_t>(i), view.k) - mean) / sum);
    }
  }
}

struct BalanceLoss : torch::autograd::Function<BalanceLoss> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& scores,
                            const at::Tensor& chosen, const at::Tensor& token_mask, bool actual,
                            core::BalanceScope scope) {
    const at::Tensor input = scores.contiguous();
    const at::Tensor mask = token_mask.contiguous();
    const at::Tensor choice = chosen.contiguous();
    at::Tensor gradient = at::zeros_like(input);
    double loss = 0;
    dispatch_wide(scores.scalar_type(), [&](auto tag) {
      using W = decltype(tag);
      const View<W> view{input.const_data_ptr<W>(),
                         actual ? choice.const_data_ptr<std::int64_t>() : nullptr,
                         mask.const_data_ptr<bool>(), input.size(2), choice.size(2)};
      std::vector<std::pair<Range, Balance>> parts;
      for (const Range& range : ranges_of(mask, scope)) {
        Balance balance = balance_of(view, range);
        if (balance.tokens > 0) {
          parts.emplace_back(range, std::move(balance));
        }
      }
      for (const auto& [range, balance] : parts) {
        loss += balance.loss(view.k) / static_cast<double>(parts.size());
        gradient_of(view, range, balance, 1.0 / static_cast<double>(parts.size()),
                    gradient.mutable_data_ptr<W>());
      }
    });
    context->save_for_backward({gradient});
    return at::scalar_tensor(loss, scores.options());
  }

  static variable_list backward(AutogradContext* context, const variable_list& arrived) {
    return {context->get_saved_variables()[0].mul(arrived[0]), at::Tensor(), at::Tensor(),
            at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor balance_loss(const at::Tensor& scores, const at::Tensor& chosen,
                        const at::Tensor& token_mask, const core::BalanceOptions& options) {
  return BalanceLoss::apply(scores, chosen, token_mask,
                            options.routing == core::BalanceRouting::kActual, options.scope);
}

at::Tensor expert_load(const at::Tensor& chosen, const at::Tensor& token_mask,
                       std::int64_t experts) {
  const at::Tensor choice = chosen.contiguous();
  const at::Tensor mask = token_mask.contiguous();
  at::Tensor load = at::zeros({experts}, at::kLong);
  auto* out = load.mutable_data_ptr<std::int64_t>();
  const auto* expert = choice.const_data_ptr<std::int64_t>();
  const bool* is_token = mask.const_data_ptr<bool>();
  for (std::int64_t n = 0; n < choice.numel(); ++n) {
    out[expert[n]] += is_token[n / choice.size(2)] ? 1 : 0;
  }
  return load;
}

at::Tensor updated_bias(const at::Tensor& bias, const at::Tensor& load, double rate) {
  const at::Tensor loads = load.to(at::kDouble);
  const double step = core::planted(core::Fault::kF95BiasSignFlipped) ? -rate : rate;
  return bias.to(at::kDouble).add(loads.mean().sub(loads).sign(), step).to(bias.scalar_type());
}

}  // namespace sparity::ops
