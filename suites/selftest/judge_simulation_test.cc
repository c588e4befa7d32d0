// Honest attention and honest selection, and the mistakes that comparators are known to miss,
// judged over many seeds: no false alarm, no survivor (verification specification, b.1 and b.6).

#include "src/core/dtype.h"
#include "suites/judge/gates.h"
#include "suites/judge/selection.h"
#include "suites/judge/top_k.h"
#include "suites/selftest/judge_samples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace sparity::judge {
namespace {

using core::Dtype;
using samples::Gaussian;

constexpr std::size_t kTokens = 40;
constexpr std::size_t kHeads = 3;
constexpr std::size_t kDepth = 24;
constexpr std::size_t kTailTile = 32;  // first row of the last tile of queries

/// What a planted fault does to the candidate's attention.
enum class Fault {
  kNone,
  kScaleOnePercent,
  kMaskLeak,
  kOneKeyDropped,
  kOwnKeyDroppedInTail,
  kHeadsSwapped,
  kRowZeroed,
  kRowStale,
  kNan,
  kValuesSwappedLayout,
};

/// [head][token][depth] values of queries, keys and values, stored in a dtype.
struct Inputs {
  std::vector<double> q, k, v;

  Inputs(Dtype dtype, std::uint64_t seed) {
    Gaussian gaussian(seed);
    for (auto* values : {&q, &k, &v}) {
      for (std::size_t i = 0; i < kHeads * kTokens * kDepth; ++i) {
        values->push_back(rounded(gaussian(), dtype));
      }
    }
  }
};

std::size_t at(std::size_t head, std::size_t token, std::size_t depth) {
  return (head * kTokens + token) * kDepth + depth;
}

Tensor empty_output(Dtype dtype) {
  return {.dtype = dtype,
          .shape = {kHeads, kTokens, kDepth},
          .values = std::vector<double>(kHeads * kTokens * kDepth)};
}

/// Real is the accumulator; `store` rounds what is kept between steps.
template <typename Real>
using Store = std::function<Real(Real)>;

/// Textbook order: scores, softmax, weighted sum, each from the first index up.
template <typename Real>
Tensor textbook(const Inputs& in, Dtype dtype, const Store<Real>& store) {
  Tensor out = empty_output(dtype);
  const Real scale = Real(1) / std::sqrt(Real(kDepth));
  for (std::size_t h = 0; h < kHeads; ++h) {
    for (std::size_t i = 0; i < kTokens; ++i) {
      std::vector<Real> p(i + 1);
      for (std::size_t j = 0; j <= i; ++j) {
        Real sum = 0;
        for (std::size_t d = 0; d < kDepth; ++d) {
          sum += Real(in.q[at(h, i, d)]) * Real(in.k[at(h, j, d)]);
        }
        p[j] = sum * scale;
      }
      const Real top = *std::ranges::max_element(p);
      Real total = 0;
      for (Real& one : p) {
        one = std::exp(one - top);
        total += one;
      }
      for (std::size_t d = 0; d < kDepth; ++d) {
        Real sum = 0;
        for (std::size_t j = 0; j <= i; ++j) {
          sum += store(p[j] / total) * Real(in.v[at(h, j, d)]);
        }
        out.values[at(h, i, d)] = double(store(sum));
      }
    }
  }
  return out;
}

/// One row of the candidate: keys from last to first, normalised at the end.
template <typename Real>
void flash_row(const Inputs& in, std::size_t h, std::size_t i, Fault fault,
               const Store<Real>& store, Tensor& out) {
  Real scale = Real(1) / std::sqrt(Real(kDepth));
  scale *= fault == Fault::kScaleOnePercent ? Real(1.01) : Real(1);
  const std::size_t first = fault == Fault::kOneKeyDropped && i == kTokens - 1 ? 1 : 0;
  const std::size_t own = fault == Fault::kOwnKeyDroppedInTail && i >= kTailTile ? 1 : 0;
  const std::size_t leak = fault == Fault::kMaskLeak && i + 1 < kTokens ? 1 : 0;
  const std::size_t values_of = fault == Fault::kHeadsSwapped ? (h + 1) % kHeads : h;
  Real top = -std::numeric_limits<Real>::infinity();
  Real total = 0;
  std::vector<Real> sums(kDepth);
  for (std::size_t j = i + 1 + leak - own; j-- > first;) {
    Real score = 0;
    for (std::size_t d = kDepth; d-- > 0;) {
      score += Real(in.q[at(h, i, d)]) * Real(in.k[at(h, j, d)]);
    }
    score *= scale;
    const Real next_top = std::max(top, score);
    const Real shrink = std::exp(top - next_top);
    const Real p = store(std::exp(score - next_top));
    total = total * shrink + p;
    for (std::size_t d = 0; d < kDepth; ++d) {
      sums[d] = sums[d] * shrink + p * Real(in.v[at(values_of, j, d)]);
    }
    top = next_top;
  }
  for (std::size_t d = 0; d < kDepth; ++d) {
    out.values[at(h, i, d)] = double(store(sums[d] / total));
  }
}

template <typename Real>
Tensor candidate_of(const Inputs& in, Dtype dtype, Fault fault, const Store<Real>& store) {
  Tensor out = empty_output(dtype);
  for (std::size_t h = 0; h < kHeads; ++h) {
    for (std::size_t i = 0; i < kTokens; ++i) {
      flash_row(in, h, i, fault, store, out);
    }
  }
  const std::size_t row = at(1, kTokens / 2, 0);
  for (std::size_t d = 0; d < kDepth; ++d) {
    if (fault == Fault::kRowZeroed) {
      out.values[row + d] = 0;
    } else if (fault == Fault::kRowStale) {
      out.values[row + d] = out.values[at(1, kTokens / 2 - 1, d)];
    }
  }
  if (fault == Fault::kNan) {
    out.values[row] = std::numeric_limits<double>::quiet_NaN();
  }
  if (fault == Fault::kValuesSwappedLayout) {
    for (std::size_t d = 0; d + 1 < kDepth; d += 2) {
      std::swap(out.values[row + d], out.values[row + d + 1]);
    }
  }
  return out;
}

Comparison judge_attention(Dtype dtype, Fault fault, std::uint64_t seed, bool with_baseline) {
  const Store<float> store = [dtype](float value) {
    return dtype == Dtype::kBF16 ? core::float_from_bfloat16(core::bfloat16_from_float(value))
                                 : value;
  };
  const Inputs in(dtype, seed);
  const Tensor truth = textbook<double>(in, Dtype::kF64, [](double value) { return value; });
  const Tensor baseline = textbook<float>(in, dtype, store);
  const Tensor candidate = candidate_of<float>(in, dtype, fault, store);
  return compare({.tensor = "attention", .reduction_length = kTokens}, candidate,
                 with_baseline ? &baseline : nullptr, truth);
}

struct Sample {
  Dtype dtype;
  Fault fault;
  const char* name;
};

class AttentionFault : public testing::TestWithParam<Sample> {};

TEST_P(AttentionFault, IsKilledOnEverySeed) {
  constexpr std::uint64_t kSeeds = 30;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Comparison judged = judge_attention(GetParam().dtype, GetParam().fault, seed, true);
    EXPECT_FALSE(judged.passed()) << "seed " << seed << ", headroom " << judged.worst_headroom();
    EXPECT_FALSE(judged.worst.empty());
  }
}

std::vector<Sample> all_faults() {
  std::vector<Sample> faults;
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16}) {
    faults.push_back({dtype, Fault::kMaskLeak, "MaskLeak"});
    faults.push_back({dtype, Fault::kOwnKeyDroppedInTail, "LastKeyDroppedInTheTailTile"});
    faults.push_back({dtype, Fault::kHeadsSwapped, "HeadsSwapped"});
    faults.push_back({dtype, Fault::kRowZeroed, "RowZeroed"});
    faults.push_back({dtype, Fault::kRowStale, "RowStale"});
    faults.push_back({dtype, Fault::kNan, "Nan"});
    faults.push_back({dtype, Fault::kValuesSwappedLayout, "NeighboursSwappedInOneRow"});
    faults.push_back({dtype, Fault::kScaleOnePercent, "ScaleOnePercent"});
  }
  // One key of forty in one row may weigh less than bfloat16 resolves: only float32 must see it.
  faults.push_back({Dtype::kF32, Fault::kOneKeyDropped, "OneKeyOfTheLastRowDropped"});
  return faults;
}

INSTANTIATE_TEST_SUITE_P(Simulation, AttentionFault, testing::ValuesIn(all_faults()),
                         [](const testing::TestParamInfo<Sample>& sample) {
                           return std::string(core::to_string(sample.param.dtype)) + "_" +
                                  sample.param.name;
                         });

class HonestAttention : public testing::TestWithParam<Dtype> {};

TEST_P(HonestAttention, RaisesNoAlarmInTwoHundredSeeds) {
  Calibration calibration;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Comparison judged = judge_attention(GetParam(), Fault::kNone, seed, true);
    calibration.observe(judged);
    EXPECT_TRUE(judged.passed()) << "seed " << seed << ": " << judged.first_failed()->name;
  }
  for (const Calibration::Entry& entry : calibration.entries) {
    RecordProperty(entry.gate, std::to_string(entry.largest_headroom));
    EXPECT_EQ(entry.comparisons, 200);
  }
}

TEST_P(HonestAttention, RaisesNoAlarmWithoutABaseline) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    EXPECT_TRUE(judge_attention(GetParam(), Fault::kNone, seed, false).passed());
    EXPECT_FALSE(judge_attention(GetParam(), Fault::kRowZeroed, seed, false).passed());
    EXPECT_FALSE(judge_attention(GetParam(), Fault::kHeadsSwapped, seed, false).passed());
  }
}

INSTANTIATE_TEST_SUITE_P(Simulation, HonestAttention, testing::Values(Dtype::kF32, Dtype::kBF16),
                         [](const testing::TestParamInfo<Dtype>& dtype) {
                           return std::string(core::to_string(dtype.param));
                         });

}  // namespace
}  // namespace sparity::judge
