#include "src/core/philox.h"

#include "src/core/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>

namespace sparity::core {
namespace {

// Known answers for philox4x32 with 10 rounds, from the paper's library (Random123, kat_vectors).
TEST(Philox, GivesThePublishedAnswers) {
  using Counter = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomStream, DependsOnSeedNameAndIndexOnly) {
  const RandomStream stream(7, "model.norm.weight");
  const std::uint32_t late = stream.bits(1000);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    stream.bits(i);
  }
  EXPECT_EQ(stream.bits(1000), late);
  EXPECT_EQ(RandomStream(7, "model.norm.weight").bits(1000), late);
  EXPECT_NE(RandomStream(8, "model.norm.weight").bits(1000), late);
  EXPECT_NE(RandomStream(7, "model.norm.bias").bits(1000), late);
  EXPECT_NE(stream.bits(1000 + (1ULL << 34)), late);  // the counter's upper word counts
}

// A change here changes every seeded checkpoint and golden.
TEST(RandomStream, StaysAsItWas) {
  const RandomStream stream(20260101, "model.layers.0.self_attn.q_a_proj.weight");
  EXPECT_EQ(stream.bits(0), 0xbdc5742eU);
  EXPECT_EQ(stream.bits(7), 0x4723c9e3U);
  EXPECT_EQ(stream.normal(3), 0x1.453c9b196ba4fp-1);
}

TEST(RandomStream, UniformFillsTheUnitIntervalEvenly) {
  const RandomStream stream(1, "uniform");
  constexpr int kCount = 1 << 16;
  std::array<int, 16> bins = {};
  double sum = 0.0;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const double value = stream.uniform(i);
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    EXPECT_EQ(value, stream.bits(i) / 4294967296.0);
    ++bins[static_cast<std::size_t>(value * 16.0)];
    sum += value;
  }
  // Five standard errors: sqrt(1/12/65536) = 0.00113; bins: sqrt(4096 · 15/16) = 62.
  EXPECT_NEAR(sum / kCount, 0.5, 5 * 0.00113);
  for (const int bin : bins) {
    EXPECT_NEAR(bin, kCount / 16, 5 * 62);
  }
}

TEST(RandomStream, NormalHasTheMomentsOfTheSumOfEightUniforms) {
  const RandomStream stream(1, "normal");
  constexpr int kCount = 1 << 17;
  std::array<double, 5> moments = {};
  double largest = 0.0;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const double value = stream.normal(i);
    for (std::size_t power = 1; power < moments.size(); ++power) {
      moments[power] += std::pow(value, static_cast<double>(power)) / kCount;
    }
    largest = std::max(largest, std::abs(value));
  }
  // Excess kurtosis of a sum of eight: -1.2 / 8. Bounds: five standard errors.
  EXPECT_NEAR(moments[1], 0.0, 5 * 0.0028);
  EXPECT_NEAR(moments[2], 1.0, 5 * 0.0038);
  EXPECT_NEAR(moments[3], 0.0, 5 * 0.0095);
  EXPECT_NEAR(moments[4], 2.85, 5 * 0.025);
  EXPECT_LT(largest, 4.9);
  EXPECT_GT(largest, 3.5);
}

TEST(RandomStream, NormalAndUniformShareNoBlock) {
  const RandomStream stream(3, "apart");
  int equal = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    // What `normal` would give from the block that `bits` reads.
    std::int64_t sum = 0;
    for (std::uint64_t word = 0; word < 4; ++word) {
      const std::uint32_t bits = stream.bits(4 * i + word);
      sum += (bits & 0xFFFFU) + (bits >> 16);
    }
    equal += static_cast<double>(sum - 262140) * 0x1.3988e1412ed76p-16 == stream.normal(i) ? 1 : 0;
  }
  EXPECT_EQ(equal, 0);
}

TEST(RandomStream, BelowStaysBelowAndReachesEverything) {
  const RandomStream stream(5, "below");
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 2000; ++i) {
    seen.insert(stream.below(i, 211));
  }
  EXPECT_EQ(seen.size(), 211U);
  EXPECT_EQ(*seen.rbegin(), 210U);
  EXPECT_EQ(stream.below(9, 1), 0U);
  EXPECT_EQ(stream.below(9, 1ULL << 32), stream.bits(9));
  EXPECT_THROW(stream.below(0, 0), Error);
  EXPECT_THROW(stream.below(0, (1ULL << 32) + 1), Error);
}

}  // namespace
}  // namespace sparity::core
