#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace sparity::core {

/// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC
/// 2011): a bijection of the 128-bit counter under the 64-bit key.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key);

/// Random numbers addressed by (seed, name, index): the same bits on every machine, for any order
/// of evaluation and any thread count. Values are integers scaled by one correctly rounded
/// multiplication, so no library function decides a bit.
class RandomStream {
 public:
  /// `name` is a tensor's name: its values don't depend on which other tensors exist. The key is
  /// the first 64 bits of SHA-256("<seed>:<name>").
  RandomStream(std::uint64_t seed, std::string_view name);

  /// 32 uniform bits.
  std::uint32_t bits(std::uint64_t index) const;
  /// A multiple of 2^-32 in [0, 1).
  double uniform(std::uint64_t index) const;
  /// Mean 0, variance 1: the centred sum of eight 16-bit integers (Irwin-Hall), bounded by ±4.9.
  double normal(std::uint64_t index) const;
  /// An integer in [0, bound), bound in [1, 2^32]; bias below 2^-32 · bound.
  std::uint64_t below(std::uint64_t index, std::uint64_t bound) const;

 private:
  std::array<std::uint32_t, 2> key_;
};

}  // namespace sparity::core
