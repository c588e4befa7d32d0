#include "src/core/dtype.h"

#include "src/core/error.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace sparity::core {
namespace {

constexpr std::array kAll = {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBF16,
                             Dtype::kI64, Dtype::kI32, Dtype::kU8,  Dtype::kBool};

template <typename Element>
std::vector<double> widened(const std::vector<Element>& elements, Dtype dtype) {
  return widen(std::as_bytes(std::span(elements)), dtype);
}

TEST(Dtype, NamesRoundTripInBothSpellings) {
  for (const Dtype dtype : kAll) {
    EXPECT_EQ(dtype_from_string(to_string(dtype)), dtype);
    EXPECT_EQ(dtype_from_safetensors_name(safetensors_name(dtype)), dtype);
  }
  EXPECT_EQ(to_string(Dtype::kBF16), "bfloat16");
  EXPECT_EQ(safetensors_name(Dtype::kBool), "BOOL");
  EXPECT_FALSE(dtype_from_string("F32"));
  EXPECT_FALSE(dtype_from_safetensors_name("float32"));
  EXPECT_FALSE(dtype_from_safetensors_name(""));
}

TEST(Dtype, SizesAndKinds) {
  constexpr std::array<std::size_t, 8> kSizes = {8, 4, 2, 2, 8, 4, 1, 1};
  for (std::size_t i = 0; i < kAll.size(); ++i) {
    EXPECT_EQ(size_of(kAll[i]), kSizes[i]);
    EXPECT_EQ(is_floating(kAll[i]), i < 4);
  }
}

TEST(Dtype, UnitRoundoffIsHalfAnUlpOfOne) {
  EXPECT_EQ(unit_roundoff(Dtype::kF64), 0x1p-53);
  EXPECT_EQ(unit_roundoff(Dtype::kF32), 0x1p-24);
  EXPECT_EQ(unit_roundoff(Dtype::kF16), 0x1p-11);
  EXPECT_EQ(unit_roundoff(Dtype::kBF16), 0x1p-8);
  for (const Dtype dtype : {Dtype::kF64, Dtype::kF32, Dtype::kF16, Dtype::kBF16}) {
    EXPECT_EQ(ulp(1.0, dtype), 2.0 * unit_roundoff(dtype));
  }
  EXPECT_THROW(unit_roundoff(Dtype::kI64), Error);
  EXPECT_THROW(ulp(1.0, Dtype::kBool), Error);
}

TEST(Dtype, UlpAgreesWithTheNeighbourOfEveryFloat32Binade) {
  for (int exponent = -149; exponent <= 127; ++exponent) {
    const float x = std::ldexp(1.0F, exponent);
    const float next = std::nextafter(x, std::numeric_limits<float>::infinity());
    EXPECT_EQ(ulp(x, Dtype::kF32), static_cast<double>(next) - x) << exponent;
    EXPECT_EQ(ulp(-x, Dtype::kF32), ulp(x, Dtype::kF32));
  }
  EXPECT_EQ(ulp(0.0, Dtype::kF32), std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(ulp(0.0, Dtype::kF16), 0x1p-24);
  EXPECT_EQ(ulp(0.0, Dtype::kBF16), 0x1p-133);
  EXPECT_EQ(ulp(1.999, Dtype::kBF16), 0x1p-7);
  EXPECT_EQ(ulp(1e300, Dtype::kF16), 32.0);
  EXPECT_TRUE(std::isnan(ulp(std::numeric_limits<double>::infinity(), Dtype::kF32)));
}

TEST(Dtype, Bfloat16SurvivesTheRoundTripForEveryBitPattern) {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const float value = float_from_bfloat16(static_cast<std::uint16_t>(bits));
    const std::uint16_t back = bfloat16_from_float(value);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(float_from_bfloat16(back))) << bits;
    } else {
      EXPECT_EQ(back, bits);
    }
  }
}

TEST(Dtype, Bfloat16RoundsToNearestEven) {
  EXPECT_EQ(bfloat16_from_float(std::bit_cast<float>(0x3F808000U)), 0x3F80);  // tie, down to even
  EXPECT_EQ(bfloat16_from_float(std::bit_cast<float>(0x3F818000U)), 0x3F82);  // tie, up to even
  EXPECT_EQ(bfloat16_from_float(std::bit_cast<float>(0x3F808001U)), 0x3F81);
  EXPECT_EQ(bfloat16_from_float(std::bit_cast<float>(0x3F807FFFU)), 0x3F80);
  EXPECT_EQ(bfloat16_from_float(std::numeric_limits<float>::max()), 0x7F80);  // infinity
  EXPECT_EQ(bfloat16_from_float(-0.0F), 0x8000);
  // A NaN whose fraction lies wholly in the half that is cut off.
  EXPECT_TRUE(
      std::isnan(float_from_bfloat16(bfloat16_from_float(std::bit_cast<float>(0x7F800001U)))));
}

TEST(Dtype, Float16WidensEveryBitPatternAsItsFieldsSay) {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const double sign = (bits & 0x8000U) == 0 ? 1.0 : -1.0;
    const int exponent = static_cast<int>((bits >> 10) & 31U);
    const double fraction = static_cast<double>(bits & 1023U) / 1024.0;
    const double value = float_from_float16(static_cast<std::uint16_t>(bits));
    if (exponent == 31 && fraction != 0.0) {
      EXPECT_TRUE(std::isnan(value));
      continue;
    }
    const double expected = exponent == 31  ? std::numeric_limits<double>::infinity()
                            : exponent == 0 ? std::ldexp(fraction, -14)
                                            : std::ldexp(1.0 + fraction, exponent - 15);
    EXPECT_EQ(value, sign * expected) << bits;
    EXPECT_EQ(std::signbit(value), sign < 0.0) << bits;
  }
}

TEST(Dtype, WidensEveryType) {
  EXPECT_EQ(widened<double>({1.5, -0x1p-1074}, Dtype::kF64),
            (std::vector<double>{1.5, -0x1p-1074}));
  EXPECT_EQ(widened<float>({0.1F}, Dtype::kF32), std::vector<double>{static_cast<double>(0.1F)});
  EXPECT_EQ(widened<std::uint16_t>({0x3C00, 0x0001}, Dtype::kF16),
            (std::vector<double>{1.0, 0x1p-24}));
  EXPECT_EQ(widened<std::uint16_t>({0x3F80, 0xFF80}, Dtype::kBF16),
            (std::vector<double>{1.0, -std::numeric_limits<double>::infinity()}));
  EXPECT_EQ(widened<std::int64_t>({-100, (1LL << 53) - 1}, Dtype::kI64),
            (std::vector<double>{-100.0, 9007199254740991.0}));
  EXPECT_EQ(widened<std::int32_t>({INT32_MIN}, Dtype::kI32), std::vector<double>{-2147483648.0});
  EXPECT_EQ(widened<std::uint8_t>({255}, Dtype::kU8), std::vector<double>{255.0});
  EXPECT_EQ(widened<std::uint8_t>({0, 1}, Dtype::kBool), (std::vector<double>{0.0, 1.0}));
  EXPECT_TRUE(widened<float>({}, Dtype::kF32).empty());
}

TEST(Dtype, WidenReadsUnalignedBytes) {
  std::vector<std::byte> bytes(1 + sizeof(double));
  const double value = 0.3;
  std::memcpy(bytes.data() + 1, &value, sizeof(value));
  EXPECT_EQ(widen(std::span(bytes).subspan(1), Dtype::kF64), std::vector<double>{value});
}

TEST(Dtype, WidenRefusesAPartOfAnElement) {
  EXPECT_THROW(widen(std::vector<std::byte>(7), Dtype::kF32), Error);
}

}  // namespace
}  // namespace sparity::core
