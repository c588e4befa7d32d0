#include "src/core/philox.h"

#include "src/core/error.h"
#include "src/core/file_io.h"

#include <fmt/format.h>

#include <string>

namespace sparity::core {

namespace {

// Multipliers and Weyl increments of the paper's Philox4x32.
constexpr std::uint64_t kMultiplier0 = 0xD2511F53;
constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;

/// The third counter word: keeps the blocks of `bits` and of `normal` apart.
constexpr std::uint32_t kBitsDomain = 0;
constexpr std::uint32_t kNormalDomain = 1;

std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1),
               high(product0) ^ counter[3] ^ key[1], low(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

RandomStream::RandomStream(std::uint64_t seed, std::string_view name) : key_{} {
  // A hash, so that neither similar names nor seeds that differ in one bit lie close to each other.
  const std::string digest = sha256_hex(fmt::format("{}:{}", seed, name));
  for (std::size_t word = 0; word < key_.size(); ++word) {
    key_[word] = static_cast<std::uint32_t>(std::stoul(digest.substr(8 * word, 8), nullptr, 16));
  }
}

std::uint32_t RandomStream::bits(std::uint64_t index) const {
  const std::uint64_t block = index / 4;
  return philox4x32({low(block), high(block), kBitsDomain, 0}, key_)[index % 4];
}

double RandomStream::uniform(std::uint64_t index) const { return bits(index) * 0x1p-32; }

double RandomStream::normal(std::uint64_t index) const {
  std::int64_t sum = 0;
  for (const std::uint32_t word : philox4x32({low(index), high(index), kNormalDomain, 0}, key_)) {
    sum += (word & 0xFFFFU) + (word >> 16);
  }
  // Eight integers uniform in [0, 65535]: mean 8 · 65535 / 2, variance 8 · (2^32 - 1) / 12.
  constexpr std::int64_t kMean = 262140;
  constexpr double kInverseDeviation = 0x1.3988e1412ed76p-16;
  return static_cast<double>(sum - kMean) * kInverseDeviation;
}

std::uint64_t RandomStream::below(std::uint64_t index, std::uint64_t bound) const {
  SPARITY_CHECK(bound >= 1 && bound <= (std::uint64_t{1} << 32),
                fmt::format("bound {} is outside [1, 2^32]", bound));
  return (bits(index) * bound) >> 32;
}

}  // namespace sparity::core
