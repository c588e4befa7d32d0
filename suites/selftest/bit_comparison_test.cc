// Two runs of the candidate that must be equal bit for bit: whose fault it is when they are not.

#include "suites/cases/case.h"
#include "suites/judge/outcome.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <limits>

namespace sparity::cases {
namespace {

judge::Verdict verdict_of(const at::Tensor& candidate, const at::Tensor& expected) {
  judge::CaseRecord record;
  record.comparisons.push_back(compare_bits("x", candidate, expected));
  return judge::judged_verdict(record);
}

at::Tensor values(double last) { return at::tensor({1.0, 2.0, last}, at::kFloat); }

TEST(CompareBits, PassesEqualRunsAndFailsOthers) {
  EXPECT_EQ(verdict_of(values(3), values(3)), judge::Verdict::kPass);
  EXPECT_EQ(verdict_of(values(3), values(3.0000002)), judge::Verdict::kFail);
  EXPECT_EQ(verdict_of(values(0.0), values(-0.0)), judge::Verdict::kFail);
}

TEST(CompareBits, NanInEitherRunIsTheCandidatesFault) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(verdict_of(values(nan), values(3)), judge::Verdict::kFail);
  EXPECT_EQ(verdict_of(values(3), values(nan)), judge::Verdict::kFail);
  EXPECT_EQ(verdict_of(values(nan), values(nan)), judge::Verdict::kFail);
}

}  // namespace
}  // namespace sparity::cases
