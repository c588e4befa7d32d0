#include "src/core/dtype.h"

#include "src/core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

namespace sparity::core {

namespace {

/// One row per type; `precision` counts the significand bits with the hidden one, 0 for integers.
struct DtypeTraits {
  Dtype dtype;
  std::string_view name;
  std::string_view safetensors_name;
  std::size_t size;
  int precision;
  int min_exponent;  // of the smallest normal number
  int max_exponent;  // of the largest finite number
};

constexpr std::array kTraits = {
    DtypeTraits{Dtype::kF64, "float64", "F64", 8, 53, -1022, 1023},
    DtypeTraits{Dtype::kF32, "float32", "F32", 4, 24, -126, 127},
    DtypeTraits{Dtype::kF16, "float16", "F16", 2, 11, -14, 15},
    DtypeTraits{Dtype::kBF16, "bfloat16", "BF16", 2, 8, -126, 127},
    DtypeTraits{Dtype::kI64, "int64", "I64", 8, 0, 0, 0},
    DtypeTraits{Dtype::kI32, "int32", "I32", 4, 0, 0, 0},
    DtypeTraits{Dtype::kU8, "uint8", "U8", 1, 0, 0, 0},
    DtypeTraits{Dtype::kBool, "bool", "BOOL", 1, 0, 0, 0},
};

const DtypeTraits& traits(Dtype dtype) {
  const auto row = std::ranges::find(kTraits, dtype, &DtypeTraits::dtype);
  SPARITY_CHECK(row != kTraits.end(), "a dtype outside its enumeration");
  return *row;
}

std::optional<Dtype> find_by(std::string_view DtypeTraits::*spelling, std::string_view name) {
  const auto row = std::ranges::find(kTraits, name, spelling);
  return row == kTraits.end() ? std::nullopt : std::optional(row->dtype);
}

const DtypeTraits& floating_traits(Dtype dtype) {
  const DtypeTraits& row = traits(dtype);
  SPARITY_CHECK(row.precision > 0, fmt::format("{} is not a floating type", row.name));
  return row;
}

/// Element `index` of an array that need not be aligned.
template <typename Element>
Element load(std::span<const std::byte> bytes, std::size_t index) {
  Element element;
  std::memcpy(&element, bytes.data() + index * sizeof(Element), sizeof(Element));
  return element;
}

static_assert(std::endian::native == std::endian::little, "stored tensors are little-endian");

template <typename Element, typename Convert>
std::vector<double> widen_each(std::span<const std::byte> bytes, Convert convert) {
  std::vector<double> values(bytes.size() / sizeof(Element));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<double>(convert(load<Element>(bytes, i)));
  }
  return values;
}

}  // namespace

std::size_t size_of(Dtype dtype) { return traits(dtype).size; }

std::string_view to_string(Dtype dtype) { return traits(dtype).name; }

std::optional<Dtype> dtype_from_string(std::string_view name) {
  return find_by(&DtypeTraits::name, name);
}

std::string_view safetensors_name(Dtype dtype) { return traits(dtype).safetensors_name; }

std::optional<Dtype> dtype_from_safetensors_name(std::string_view name) {
  return find_by(&DtypeTraits::safetensors_name, name);
}

bool is_floating(Dtype dtype) { return traits(dtype).precision > 0; }

double unit_roundoff(Dtype dtype) { return std::ldexp(1.0, -floating_traits(dtype).precision); }

double ulp(double x, Dtype dtype) {
  const DtypeTraits& row = floating_traits(dtype);
  if (!std::isfinite(x)) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const int exponent = x == 0.0 ? row.min_exponent : std::ilogb(x);
  return std::ldexp(1.0,
                    std::clamp(exponent, row.min_exponent, row.max_exponent) - (row.precision - 1));
}

float float_from_bfloat16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

float float_from_float16(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU;
  const std::uint32_t fraction = bits & 0x3FFU;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(fraction), -24);
    return sign == 0 ? magnitude : -magnitude;
  }
  // Infinity and NaN keep their exponent of all ones; the rest moves from bias 15 to bias 127.
  const std::uint32_t wide_exponent = exponent == 0x1FU ? 0xFFU : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (fraction << 13));
}

std::uint16_t bfloat16_from_float(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) {
    // Truncation alone could clear the whole fraction and leave an infinity.
    return static_cast<std::uint16_t>((bits >> 16) | 0x0040U);
  }
  const std::uint32_t to_even = 0x7FFFU + ((bits >> 16) & 1U);
  return static_cast<std::uint16_t>((bits + to_even) >> 16);
}

std::vector<double> widen(std::span<const std::byte> bytes, Dtype dtype) {
  SPARITY_CHECK(bytes.size() % size_of(dtype) == 0,
                fmt::format("{} bytes are not a whole number of {} elements", bytes.size(),
                            to_string(dtype)));
  const auto as_is = [](auto element) { return element; };
  switch (dtype) {
    case Dtype::kF64:
      return widen_each<double>(bytes, as_is);
    case Dtype::kF32:
      return widen_each<float>(bytes, as_is);
    case Dtype::kF16:
      return widen_each<std::uint16_t>(bytes, float_from_float16);
    case Dtype::kBF16:
      return widen_each<std::uint16_t>(bytes, float_from_bfloat16);
    case Dtype::kI64:
      return widen_each<std::int64_t>(bytes, as_is);
    case Dtype::kI32:
      return widen_each<std::int32_t>(bytes, as_is);
    case Dtype::kU8:
      return widen_each<std::uint8_t>(bytes, as_is);
    case Dtype::kBool:
      return widen_each<std::uint8_t>(bytes, [](std::uint8_t byte) { return byte == 0 ? 0 : 1; });
  }
  SPARITY_CHECK(false, "a dtype outside its enumeration");
  return {};
}

}  // namespace sparity::core
