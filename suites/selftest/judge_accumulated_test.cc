// Errors that grew along the layers are no failure of the free run, and excuse nothing else.

#include "suites/judge/divergence.h"
#include "suites/judge/gates.h"
#include "suites/judge/outcome.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace sparity::judge {
namespace {

/// A free run in bfloat16 whose second layer, and what follows, is 6e-2 off where the baseline is
/// 1e-2 off.
CaseRecord free_run() {
  CaseRecord record;
  record.suite = "model";
  for (const char* name : {"layers.0", "layers.1.mlp", "layers.1", "logits"}) {
    const bool off = std::string(name) != "layers.0";
    Comparison comparison;
    comparison.tensor = name;
    comparison.relative_l2 = off ? 6e-2 : 1e-2;
    comparison.gates.push_back(make_gate("G1", comparison.relative_l2, 1.5e-2));
    comparison.gates.push_back(make_gate("G3", 1, 2));
    record.comparisons.push_back(comparison);
  }
  record.trace = {{.tensor = "layers.0",
                   .local_headroom = 0.5,
                   .free_error = 1e-2,
                   .baseline_error = 1e-2,
                   .predicted_error = 1e-2},
                  {.tensor = "layers.1",
                   .local_headroom = 0.5,
                   .free_error = 6e-2,
                   .baseline_error = 1e-2,
                   .predicted_error = 4e-2}};
  return record;
}

Verdict verdict_of(CaseRecord& record) {
  classify_all(record.trace, core::Dtype::kBF16);
  waive_accumulated(record.comparisons, record.trace);
  settle(record);
  return record.verdict;
}

TEST(Accumulated, HonestErrorsThatGrewPassWithANote) {
  CaseRecord record = free_run();
  EXPECT_EQ(verdict_of(record), Verdict::kPass) << record.message;
  EXPECT_EQ(effective_verdict(record), Verdict::kPass);
  const Gate& gate = record.comparisons.at(2).gates.front();
  EXPECT_FALSE(gate.ok);
  EXPECT_FALSE(gate.blocking);
  EXPECT_NE(gate.note.find("ACCUMULATED"), std::string::npos);
  EXPECT_TRUE(record.comparisons.at(0).gates.front().blocking);  // it held by itself
}

TEST(Accumulated, ALayerThatIsWrongByItselfStillFails) {
  CaseRecord record = free_run();
  record.trace[0].local_headroom = 1.5;
  EXPECT_EQ(verdict_of(record), Verdict::kFail);
  EXPECT_EQ(record.first_divergence, "layers.0");
  EXPECT_TRUE(record.comparisons.at(2).gates.front().blocking);
}

TEST(Accumulated, WhatTheLayersDoNotAddUpToStillFails) {
  CaseRecord record = free_run();
  record.trace[1].predicted_error = 2e-2;
  EXPECT_EQ(verdict_of(record), Verdict::kFail);
  EXPECT_EQ(record.trace[1].divergence, DivergenceClass::kUnexplained);
}

TEST(Accumulated, OneTensorBeyondThePredictionIsNotExcusedByItsLayer) {
  CaseRecord record = free_run();
  record.comparisons[1].relative_l2 = 9e-2;
  EXPECT_EQ(verdict_of(record), Verdict::kFail);
  EXPECT_NE(record.message.find("layers.1.mlp: G1"), std::string::npos) << record.message;
  CaseRecord nan = free_run();
  nan.comparisons[3].relative_l2 = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(verdict_of(nan), Verdict::kFail);
}

TEST(Accumulated, OtherGatesAreNotWaived) {
  CaseRecord record = free_run();
  record.comparisons[3].gates[1] = make_gate("G3", 3, 2);
  EXPECT_EQ(verdict_of(record), Verdict::kFail);
  EXPECT_NE(record.message.find("G3"), std::string::npos);
}

TEST(Accumulated, WithoutAChartNothingIsWaived) {
  CaseRecord record = free_run();
  record.trace.clear();
  EXPECT_EQ(verdict_of(record), Verdict::kFail);
}

}  // namespace
}  // namespace sparity::judge
