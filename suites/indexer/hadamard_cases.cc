#include "suites/indexer/hadamard_cases.h"

#include "reference/model/indexer.h"
#include "reference/scalar/indexer.h"
#include "src/ops/indexer.h"
#include "suites/cases/skips.h"

#include <ATen/ops/empty_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <span>

namespace sparity::suites {

namespace {

using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

namespace reference = sparity::reference::model;
namespace scalar = sparity::reference::scalar;

at::Tensor transformed_by_loops(const at::Tensor& x) {
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  const auto width = static_cast<std::size_t>(x.size(-1));
  for (std::int64_t row = 0; row < in.numel() / x.size(-1); ++row) {
    const double* first = in.const_data_ptr<double>() + row * x.size(-1);
    std::ranges::copy(scalar::hadamard(std::span<const double>(first, width)),
                      out.mutable_data_ptr<double>() + row * x.size(-1));
  }
  return out;
}

/// x [2, 5, 3, width], a slice with its axes swapped. Truth by plain loops.
cases::Case transform_case(std::int64_t width, double spread) {
  return cases::op_case({
      .suite = "indexer",
      .name = fmt::format("hadamard_of_{}_channels_by_scalar_loops.spread_{}", width, spread),
      .inputs =
          [width, spread](const SuiteContext& context) {
            const at::Tensor x = context.normal("hadamard.x", {2, 3, 5, width + 2});
            return TensorMap{{"x", x.narrow(-1, 1, width).transpose(1, 2).mul(spread)}};
          },
      .reference =
          [](const SuiteContext&, const TensorMap& in) {
            const at::Tensor& x = in.at("x");
            return Outputs{{"hadamard", x.scalar_type() == at::kDouble ? transformed_by_loops(x)
                                                                       : reference::hadamard(x)}};
          },
      .candidate =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{{"hadamard", ops::hadamard(in.at("x"))}};
          },
  });
}

cases::Case involution_case() {
  return cases::op_case({
      .suite = "indexer",
      .name = "hadamard_is_its_own_inverse",
      .inputs =
          [](const SuiteContext& context) {
            return TensorMap{{"x", context.normal("hadamard.x", {2, 5, 3, 32})}};
          },
      .reference =
          [](const SuiteContext&, const TensorMap& in) {
            const at::Tensor& x = in.at("x");
            return Outputs{{"hadamard twice", x.scalar_type() == at::kDouble
                                                  ? x
                                                  : reference::hadamard(reference::hadamard(x))}};
          },
      .candidate =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{{"hadamard twice", ops::hadamard(ops::hadamard(in.at("x")))}};
          },
  });
}

}  // namespace

std::vector<cases::Case> hadamard_cases() {
  return {transform_case(32, 1.0), transform_case(128, 1.0), transform_case(2, 1.0),
          transform_case(1, 1.0),  transform_case(64, 3e4),  transform_case(16, 1e-5),
          involution_case()};
}

bool hadamard_applies(const cases::SuiteContext& context, judge::CaseRecord& record) {
  const std::int64_t width = context.config().index_head_dim;
  if (std::has_single_bit(static_cast<std::uint64_t>(width))) {
    return true;
  }
  return !cases::skip(record, fmt::format("index_head_dim {} is not a power of two", width));
}

}  // namespace sparity::suites
