#pragma once

namespace sparity::judge {

/// Asserts that floating-point arithmetic is what the gates assume: NaN and infinity are recognised
/// and compare as IEEE 754 says, signed zeros are kept, subnormals are not flushed, products and
/// sums are not contracted. A build with -ffast-math fails it. Call it first in every program that
/// judges. Throws (exit code 6).
void start_check();

}  // namespace sparity::judge
