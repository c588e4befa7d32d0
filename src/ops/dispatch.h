#pragma once

#include "src/core/error.h"

#include <c10/core/ScalarType.h>
#include <c10/util/BFloat16.h>

#include <string>
#include <type_traits>

namespace sparity::ops {

/// What arithmetic on T is done in: "f32(x)" of the specification, the wider of T and float.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// Calls `body(T{})` with the element type of an activation dtype: double, float or c10::BFloat16.
template <typename Body>
decltype(auto) dispatch_activation(at::ScalarType type, Body&& body) {
  switch (type) {
    case at::kDouble:
      return body(double{});
    case at::kFloat:
      return body(float{});
    case at::kBFloat16:
      return body(c10::BFloat16{});
    default:
      core::throw_error(core::ExitCode::kHarnessFault,
                        std::string("no arithmetic for activations of type ") + c10::toString(type),
                        __FILE__, __LINE__);
  }
}

/// Calls `body(W{})` with the element type of a wide dtype: double or float.
template <typename Body>
decltype(auto) dispatch_wide(at::ScalarType type, Body&& body) {
  SPARITY_CHECK(type == at::kDouble || type == at::kFloat, "expected float32 or float64");
  if (type == at::kDouble) {
    return body(double{});
  }
  return body(float{});
}

}  // namespace sparity::ops
