#include "src/tensors/at_dtype.h"

#include "src/core/error.h"

#include <c10/core/ScalarType.h>
#include <fmt/format.h>

namespace sparity::tensors {

at::ScalarType to_scalar_type(core::Dtype dtype) {
  switch (dtype) {
    case core::Dtype::kF64:
      return at::kDouble;
    case core::Dtype::kF32:
      return at::kFloat;
    case core::Dtype::kF16:
      return at::kHalf;
    case core::Dtype::kBF16:
      return at::kBFloat16;
    case core::Dtype::kI64:
      return at::kLong;
    case core::Dtype::kI32:
      return at::kInt;
    case core::Dtype::kU8:
      return at::kByte;
    case core::Dtype::kBool:
      return at::kBool;
  }
  core::throw_error(core::ExitCode::kHarnessFault, "unknown Dtype", __FILE__, __LINE__);
}

core::Dtype to_dtype(at::ScalarType type) {
  for (core::Dtype dtype :
       {core::Dtype::kF64, core::Dtype::kF32, core::Dtype::kF16, core::Dtype::kBF16,
        core::Dtype::kI64, core::Dtype::kI32, core::Dtype::kU8, core::Dtype::kBool}) {
    if (to_scalar_type(dtype) == type) {
      return dtype;
    }
  }
  core::throw_error(core::ExitCode::kHarnessFault,
                    fmt::format("no file dtype for {}", c10::toString(type)), __FILE__, __LINE__);
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  SPARITY_CHECK(tensor.is_contiguous() && tensor.device().is_cpu(),
                "bytes of a tensor that is not contiguous in host memory");
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

at::ScalarType at_least_f32(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace sparity::tensors
