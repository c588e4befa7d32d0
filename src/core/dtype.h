#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace sparity::core {

/// Element types of stored tensors.
enum class Dtype { kF64, kF32, kF16, kBF16, kI64, kI32, kU8, kBool };

/// Bytes of one element.
std::size_t size_of(Dtype dtype);

/// "float32", "bfloat16", …: the spelling of flags and reports.
std::string_view to_string(Dtype dtype);
std::optional<Dtype> dtype_from_string(std::string_view name);

/// "F32", "BF16", …: the spelling of safetensors headers.
std::string_view safetensors_name(Dtype dtype);
std::optional<Dtype> dtype_from_safetensors_name(std::string_view name);

bool is_floating(Dtype dtype);

/// u = eps/2, the largest relative error of one rounding to nearest: 2^-53, 2^-24, 2^-11, 2^-8.
/// Throws on integer types.
double unit_roundoff(Dtype dtype);

/// Spacing of `dtype`'s values at x: 2^(floor(log2|x|) - precision + 1), never below the smallest
/// subnormal (also at 0) nor above the spacing at the largest finite value. For a representable x
/// it is the distance from |x| to the next larger value. NaN where x is not finite; throws on
/// integer types.
double ulp(double x, Dtype dtype);

/// Exact widenings of the 16-bit formats' bit patterns.
float float_from_bfloat16(std::uint16_t bits);
float float_from_float16(std::uint16_t bits);

/// Round to nearest, ties to even; NaN stays NaN; overflow becomes infinity.
std::uint16_t bfloat16_from_float(float value);

/// Every element of a little-endian array of `dtype`, widened to double. Every floating type and
/// every integer below 2^53 in magnitude is exact. Throws when the byte count is not a multiple of
/// the size.
std::vector<double> widen(std::span<const std::byte> bytes, Dtype dtype);

}  // namespace sparity::core
