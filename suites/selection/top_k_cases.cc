#include "suites/selection/top_k_cases.h"

#include "reference/model/indexer.h"
#include "reference/scalar/indexer.h"
#include "src/ops/top_k.h"
#include "src/tensors/at_dtype.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

namespace sparity::suites {

namespace {

using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

namespace reference = sparity::reference::model;
namespace scalar = sparity::reference::scalar;

constexpr std::int64_t kRows = 23;
constexpr std::int64_t kColumns = 61;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<std::int64_t> sizes_of_choice() { return {1, 7, kColumns, kColumns + 39}; }

/// Standard normal scores, float32 or wider. The bfloat16 run's are full of ties.
at::Tensor normal_scores(const SuiteContext& context, const char* name = "top_k.scores") {
  return context.normal(name, {kRows, kColumns}).to(tensors::at_least_f32(context.activation()));
}

/// About half of the keys; none in the first row, all in the second, one in the third.
at::Tensor open_keys(const SuiteContext& context) {
  at::Tensor open = normal_scores(context, "top_k.open") > 0;
  open.select(0, 0).fill_(false);
  open.select(0, 1).fill_(true);
  open.select(0, 2).fill_(false);
  open.select(0, 2).select(0, kColumns - 1).fill_(true);
  return open;
}

using Choose = at::Tensor (*)(const at::Tensor& scores, const at::Tensor& open, std::int64_t k);

at::Tensor by_reference(const at::Tensor& scores, const at::Tensor& open, std::int64_t k) {
  return reference::topk_indices(scores.masked_fill(open.logical_not(), -kInfinity), k);
}

at::Tensor by_scalar_loops(const at::Tensor& scores, const at::Tensor& open, std::int64_t k) {
  const at::Tensor masked =
      scores.to(at::kDouble).masked_fill(open.logical_not(), -kInfinity).contiguous();
  const std::int64_t width = std::min(k, scores.size(1));
  at::Tensor indices = at::empty({scores.size(0), width}, at::kLong);
  for (std::int64_t row = 0; row < scores.size(0); ++row) {
    const std::span<const double> values(masked.const_data_ptr<double>() + row * scores.size(1),
                                         static_cast<std::size_t>(scores.size(1)));
    std::ranges::copy(scalar::topk_indices(values, static_cast<std::size_t>(k)),
                      indices.mutable_data_ptr<std::int64_t>() + row * width);
  }
  return indices;
}

Outputs choices(const TensorMap& in, Choose choose) {
  Outputs outputs;
  for (const std::int64_t k : sizes_of_choice()) {
    outputs.emplace_back(fmt::format("top_k.{}", k), choose(in.at("scores"), in.at("open"), k));
  }
  return outputs;
}

/// Indices are integers, and so judged by bit equality.
cases::Case top_k_case(const std::string& name, at::Tensor (*scores)(const SuiteContext&),
                       Choose judge, Choose choose = ops::top_k) {
  return cases::op_case({
      .suite = "selection",
      .name = "top_k_of_" + name,
      .inputs =
          [scores](const SuiteContext& context) {
            return TensorMap{{"scores", scores(context)}, {"open", open_keys(context)}};
          },
      .reference = [judge](const SuiteContext&, const TensorMap& in) { return choices(in, judge); },
      .candidate = [choose](const SuiteContext&,
                            const TensorMap& in) { return choices(in, choose); },
  });
}

at::Tensor plain_scores(const SuiteContext& context) { return normal_scores(context); }

/// Two or three different values in a row of 61.
at::Tensor tied_scores(const SuiteContext& context) { return normal_scores(context).round(); }

/// Zeros of both signs and a few ones.
at::Tensor signed_zeros(const SuiteContext& context) {
  const at::Tensor scores = normal_scores(context);
  return scores.sign().mul(scores.abs() > 1.5);
}

at::Tensor negative_scores(const SuiteContext& context) {
  return normal_scores(context).abs().neg().sub(1);
}

at::Tensor scores_with_infinities(const SuiteContext& context) {
  const at::Tensor scores = normal_scores(context);
  return scores.masked_fill(scores > 1, kInfinity);
}

at::Tensor scores_half_infinite(const SuiteContext& context) {
  const at::Tensor scores = normal_scores(context);
  return scores.masked_fill(scores.lt(0), kInfinity);
}

/// NaN in the place of the finite scores above 1, of a whole row and of every other score of
/// another. A NaN ranks above every number, so that it's seen and not hidden (S2 then fails).
template <Choose kChoose>
at::Tensor with_nan(const at::Tensor& scores, const at::Tensor& open, std::int64_t k) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  at::Tensor spoilt = scores.masked_fill(scores.gt(1).logical_and(scores.lt(kInfinity)), kNan);
  spoilt.select(0, 1).fill_(kNan);
  spoilt.select(0, 3).slice(0, 0, kColumns, 2).fill_(kNan);
  return kChoose(spoilt, open, k);
}

at::Tensor strided_scores(const SuiteContext& context) {
  return normal_scores(context).t().contiguous().t();
}

}  // namespace

std::vector<cases::Case> top_k_cases() {
  return {
      top_k_case("scores", plain_scores, by_reference),
      top_k_case("scores_by_scalar_loops", plain_scores, by_scalar_loops),
      top_k_case("strided_scores", strided_scores, by_scalar_loops),
      top_k_case("ties_takes_the_lower_index", tied_scores, by_reference),
      top_k_case("ties_takes_the_lower_index_by_scalar_loops", tied_scores, by_scalar_loops),
      top_k_case("zeros_ignores_their_signs", signed_zeros, by_scalar_loops),
      top_k_case("negative_scores", negative_scores, by_scalar_loops),
      top_k_case("infinite_scores", scores_with_infinities, by_scalar_loops),
      top_k_case("scores_with_nan_takes_them_first", plain_scores, with_nan<by_reference>,
                 with_nan<ops::top_k>),
      top_k_case("infinite_scores_with_nan_takes_nan_first", scores_half_infinite,
                 with_nan<by_reference>, with_nan<ops::top_k>),
  };
}

}  // namespace sparity::suites
