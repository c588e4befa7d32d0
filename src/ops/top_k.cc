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

template <typename W>
void select_row(const W* scores, const bool* open, std::int64_t columns, std::int64_t k,
                std::vector<Candidate<W>>& candidates, std::int64_t* out) {
  candidates.clear();
  for (std::int64_t t = 0; t < columns; ++t) {
    if (open[t]) {
      const W score = std::isnan(scores[t]) ? std::numeric_limits<W>::infinity() : scores[t];
      candidates.push_back({score, t});
    }
  }
  const auto chosen = std::min(static_cast<std::ptrdiff_t>(k), std::ssize(candidates));
  const auto last = candidates.begin() + chosen;
  if (last != candidates.end()) {
    std::nth_element(candidates.begin(), last, candidates.end());
  }
  std::sort(candidates.begin(), last);
  std::transform(candidates.begin(), last, out, [](const auto& c) { return c.index; });
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
      candidates.reserve(static_cast<std::size_t>(columns));
      for (std::int64_t r = begin; r < end; ++r) {
        select_row(score + r * columns, is_open + r * columns, columns, width, candidates,
                   out + r * width);
      }
    });
  });
  return indices;
}

}  // namespace sparity::ops
