#include "suites/judge/start_check.h"

#include "src/core/error.h"
#include "suites/judge/gates.h"

#include <cmath>
#include <limits>

namespace sparity::judge {

namespace {

// Volatile: the compiler must not decide these at compile time, by rules the run does not follow.
volatile double zero = 0.0;
volatile double negative_zero = -0.0;
volatile double one = 1.0;
volatile double not_a_number = std::numeric_limits<double>::quiet_NaN();
volatile double infinity = std::numeric_limits<double>::infinity();
volatile double subnormal = std::numeric_limits<double>::denorm_min();
volatile double just_above_one = 1.0 + 0x1p-27;
volatile double minus_its_rounded_square = -(1.0 + 0x1p-26);

void require(bool holds, const char* what) {
  SPARITY_CHECK(holds, std::string("floating-point arithmetic is not IEEE 754 in this build: ") +
                           what + " (is it built with -ffast-math?)");
}

void check_comparisons() {
  const double nan = not_a_number;
  const double inf = infinity;
  require(std::isnan(nan) && !std::isnan(one), "isnan does not work");
  require(std::isinf(inf) && !std::isfinite(inf) && !std::isfinite(nan) && std::isfinite(one),
          "isfinite does not work");
  require(!(nan <= one) && !(nan >= one) && nan != nan, "NaN compares as a number");
}

void check_gate() {
  require(!make_gate("", not_a_number, one).ok && !make_gate("", zero, not_a_number).ok,
          "a gate lets NaN pass");
  require(!make_gate("", infinity, infinity).ok && make_gate("", zero, zero).ok,
          "a gate lets infinity pass");
}

void check_arithmetic() {
  require(std::signbit(negative_zero * one) && !std::signbit(zero), "signed zeros are lost");
  require(subnormal * one != 0.0, "subnormal numbers are flushed to zero");
  const double square = just_above_one * just_above_one + minus_its_rounded_square;
  require(square == 0.0, "products and sums are contracted");
}

}  // namespace

void start_check() {
  check_comparisons();
  check_gate();
  check_arithmetic();
}

}  // namespace sparity::judge
