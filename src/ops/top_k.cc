#include "src/ops/top_k.h"

#include "src/ops/dispatch.h"

#include <ATen/Parallel.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace sparity::ops {

namespace {

/// A score with its place; ordered so that the better one comes first.
template <typename W>
struct Candidate {
  W score;
  std::int64_t index;

  bool operator<(const Candidate& other) const {
    return score > other.score || (score == other.score && index < other.index);
  }
};

/// Drops all but the k best.
template <typename W>
void keep_best(std::vector<Candidate<W>>& candidates, std::int64_t k) {
  if (std::ssize(candidates) > k) {
    std::nth_element(candidates.begin(), candidates.begin() + k - 1, candidates.end());
    candidates.resize(static_cast<std::size_t>(k));
  }
}

/// One pass with a few times k candidates at hand. Once k are known, only a better score than the
/// worst of them can enter: an equal one comes later, and the earlier index wins.
template <typename W>
void select_row(const W* scores, const bool* open, std::int64_t columns, std::int64_t k,
                std::vector<Candidate<W>>& candidates, std::int64_t* out) {
  constexpr std::int64_t kSpare = 4;
  W threshold = -std::numeric_limits<W>::infinity();
  bool full = false;
  candidates.clear();
  for (std::int64_t t = 0; t < columns; ++t) {
    if (!open[t] || (full && scores[t] <= threshold)) {
      continue;
    }
    candidates.push_back(
        {std::isnan(scores[t]) ? std::numeric_limits<W>::infinity() : scores[t], t});
    if (std::ssize(candidates) == kSpare * k) {
      keep_best(candidates, k);
      threshold = candidates.back().score;
      full = true;
    }
  }
  keep_best(candidates, k);
  std::sort(candidates.begin(), candidates.end());
  std::transform(candidates.begin(), candidates.end(), out, [](const auto& c) { return c.index; });
}

}  // namespace

at::Tensor top_k(const at::Tensor& scores, const at::Tensor& open, std::int64_t k) {
  const std::int64_t rows = scores.size(0);
  const std::int64_t columns = scores.size(1);
  const std::int64_t width = std::min(k, columns);
  at::Tensor indices = at::full({rows, width}, -1, at::kLong);
  const at::Tensor scores_in = scores.contiguous();
  const at::Tensor open_in = open.contiguous();
  dispatch_wide(scores.scalar_type(), [&](auto tag) {
    using W = decltype(tag);
    const W* score = scores_in.const_data_ptr<W>();
    const bool* is_open = open_in.const_data_ptr<bool>();
    auto* out = indices.mutable_data_ptr<std::int64_t>();
    at::parallel_for(0, rows, 8, [&](std::int64_t begin, std::int64_t end) {
      std::vector<Candidate<W>> candidates;
      for (std::int64_t r = begin; r < end; ++r) {
        select_row(score + r * columns, is_open + r * columns, columns, width, candidates,
                   out + r * width);
      }
    });
  });
  return indices;
}

}  // namespace sparity::ops
