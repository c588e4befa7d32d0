#include "src/train/finite.h"

#include "src/core/error.h"
#include "src/core/safetensors.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <vector>

namespace sparity::train {

namespace {

constexpr std::int64_t kGrain = 1 << 14;
constexpr std::int64_t kBlock = 1 << 10;

/// Whether some of `count` numbers has an exponent, the bits of `exponent`, that is all ones: one
/// more then carries into the sign. Without a branch, so that full blocks become vectors and run at
/// the speed of memory.
template <typename Bits>
bool any_in(const Bits* numbers, std::int64_t count, Bits exponent) {
  const auto one = static_cast<Bits>(exponent & (~exponent + 1));
  const auto sign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  Bits met = 0;
  const auto look = [&](std::int64_t i) {
    met |= static_cast<Bits>((numbers[i] & exponent) + one);
  };
  if (count == kBlock) {
    for (std::int64_t i = 0; i < kBlock; ++i) {
      look(i);
    }
  } else {
    for (std::int64_t i = 0; i < count; ++i) {
      look(i);
    }
  }
  return (met & sign) != 0;
}

/// The first of `count` such numbers; `count` when there is none.
template <typename Bits>
std::int64_t first_in(const Bits* numbers, std::int64_t count, Bits mask) {
  std::atomic<std::int64_t> first = count;
  at::parallel_for(0, count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; block += kBlock) {
      const std::int64_t stop = std::min(block + kBlock, end);
      if (!any_in(numbers + block, stop - block, mask)) {
        continue;
      }
      const Bits* found = std::find_if(numbers + block, numbers + stop,
                                       [&](Bits bits) { return (bits & mask) == mask; });
      std::int64_t known = first;
      while (found - numbers < known && !first.compare_exchange_weak(known, found - numbers)) {
      }
      return;
    }
  });
  return first;
}

std::int64_t first_in(const at::Tensor& tensor) {
  const auto in = [&](auto mask) {
    return first_in(static_cast<const decltype(mask)*>(tensor.const_data_ptr()), tensor.numel(),
                    mask);
  };
  switch (tensor.scalar_type()) {
    case at::kDouble:
      return in(std::uint64_t{0x7FF0'0000'0000'0000});
    case at::kFloat:
      return in(std::uint32_t{0x7F80'0000});
    case at::kBFloat16:
      return in(std::uint16_t{0x7F80});
    case at::kHalf:
      return in(std::uint16_t{0x7C00});
    default:
      core::throw_error(
          core::ExitCode::kHarnessFault,
          std::string("expected a floating tensor, found ") + c10::toString(tensor.scalar_type()),
          __FILE__, __LINE__);
  }
}

}  // namespace

std::string first_not_finite(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().contiguous();
  std::int64_t rest = first_in(flat);
  if (rest == flat.numel()) {
    return "";
  }
  const double value = flat.view({-1})[rest].item().toDouble();
  std::vector<std::int64_t> place(static_cast<std::size_t>(flat.dim()));
  for (std::size_t d = place.size(); d-- > 0;) {
    const std::int64_t size = flat.size(static_cast<std::int64_t>(d));
    place[d] = rest % size;
    rest /= size;
  }
  const std::string text = std::isnan(value) ? "nan" : fmt::format("{}", value);
  return fmt::format("{} at [{}]", text, fmt::join(place, ", "));
}

void check_finite(const tensors::Checkpoint& checkpoint, const std::filesystem::path& folder) {
  for (const core::ParameterSpec& parameter : checkpoint.manifest.parameters()) {
    const std::string found = first_not_finite(checkpoint.weights.at(parameter.name));
    if (!found.empty()) {
      const core::ShardedSafetensors files = core::ShardedSafetensors::open(folder);
      SPARITY_FAIL_INPUT(
          fmt::format("{}: '{}': expected finite numbers to train from, found {}",
                      files.shards()[files.tensors().at(parameter.name).shard].path().string(),
                      parameter.name, found));
    }
  }
}

}  // namespace sparity::train
