// From comparisons to a verdict and an exit code: nothing is lost, nothing passes by being absent.

#include "src/core/error.h"
#include "src/core/model_config.h"
#include "suites/judge/conditions.h"
#include "suites/judge/divergence.h"
#include "suites/judge/gates.h"
#include "suites/judge/name_sets.h"
#include "suites/judge/outcome.h"
#include "suites/selftest/judge_samples.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sparity::judge {
namespace {

using core::ExitCode;
using Names = std::vector<std::string>;

CaseRecord record_of(const std::string& suite, Comparison comparison) {
  CaseRecord record;
  record.suite = suite;
  record.name = suite + ".case";
  record.comparisons.push_back(std::move(comparison));
  settle(record);
  return record;
}

Comparison comparison_with(Gate gate) {
  Comparison comparison;
  comparison.tensor = "layers.0";
  comparison.gates.push_back(std::move(gate));
  return comparison;
}

CaseRecord passing(const std::string& suite) {
  return record_of(suite, comparison_with(make_gate("G1", 1, 2)));
}
CaseRecord failing(const std::string& suite) {
  return record_of(suite, comparison_with(make_gate("G1", 3, 2)));
}
CaseRecord ended(const std::string& suite, Verdict verdict) {
  CaseRecord record;
  record.suite = suite;
  record.verdict = verdict;
  return record;
}

TEST(Outcome, H3AFailedGateEndsInExitCodeOne) {
  const std::vector<CaseRecord> records{passing("a"), failing("b")};
  const RunOutcome run = judge_run(records, Names{"a", "b"});
  EXPECT_EQ(run.verdict, Verdict::kFail);
  EXPECT_EQ(static_cast<int>(run.exit_code), 1);
  EXPECT_NE(run.suites[1].message.find("layers.0: G1 failed"), std::string::npos);
}

TEST(Outcome, H3ARecordThatSaysPassAgainstItsOwnGatesDoesNotPass) {
  CaseRecord liar = failing("a");
  liar.verdict = Verdict::kPass;
  EXPECT_EQ(effective_verdict(liar), Verdict::kFail);
  EXPECT_EQ(judge_run(std::vector{liar}, Names{"a"}).exit_code, ExitCode::kParityFailed);
}

TEST(Outcome, AllPassIsExitCodeZero) {
  const RunOutcome run = judge_run(std::vector{passing("a"), passing("b")}, Names{"a", "b"});
  EXPECT_EQ(run.exit_code, ExitCode::kPass);
  EXPECT_EQ(run.comparisons, 2);
  EXPECT_TRUE(run.missing.empty());
}

TEST(Outcome, C11NothingComparedIsAHarnessFault) {
  CaseRecord empty;
  empty.suite = "a";
  settle(empty);
  EXPECT_EQ(empty.verdict, Verdict::kHarnessFault);
  EXPECT_EQ(empty.message, "nothing was compared");
  empty.verdict = Verdict::kPass;
  EXPECT_EQ(judge_run(std::vector{empty}, Names{"a"}).exit_code, ExitCode::kHarnessFault);
  EXPECT_EQ(judge_run(std::vector<CaseRecord>(), Names()).exit_code, ExitCode::kHarnessFault);
  EXPECT_EQ(combine(std::vector<Verdict>()), Verdict::kHarnessFault);
}

TEST(Outcome, C11AComparisonWithoutAGateIsNoComparison) {
  EXPECT_EQ(record_of("a", Comparison()).verdict, Verdict::kHarnessFault);
}

TEST(Outcome, C13H10ASuiteThatLeftNoRecordCounts) {
  const RunOutcome run = judge_run(std::vector{passing("a")}, Names{"a", "rope"});
  EXPECT_EQ(run.missing, Names{"rope"});
  EXPECT_NE(run.exit_code, ExitCode::kPass);
  EXPECT_EQ(run.suites[1].verdict, Verdict::kHarnessFault);
}

TEST(Outcome, ASuiteNobodyExpectedIsStillCounted) {
  EXPECT_EQ(judge_run(std::vector{passing("a"), failing("b")}, Names{"a"}).exit_code,
            ExitCode::kParityFailed);
}

TEST(Outcome, AllSkippedIs77AndOnePassMakesItPass) {
  const std::vector<CaseRecord> skipped{ended("a", Verdict::kSkip), ended("b", Verdict::kSkip)};
  EXPECT_EQ(judge_run(skipped, Names{"a", "b"}).exit_code, ExitCode::kAllSkipped);
  const std::vector<CaseRecord> some{ended("a", Verdict::kSkip), passing("b")};
  EXPECT_EQ(judge_run(some, Names{"a", "b"}).exit_code, ExitCode::kPass);
}

TEST(Outcome, C9C10CrashAndTimeOutAreNeitherPassNorFailNorSkip) {
  for (const Verdict verdict : {Verdict::kCrash, Verdict::kTimeout, Verdict::kOutOfMemory}) {
    const std::vector<CaseRecord> records{passing("a"), failing("a"), ended("a", verdict)};
    const RunOutcome run = judge_run(records, Names{"a"});
    EXPECT_EQ(run.verdict, verdict);
    EXPECT_EQ(run.exit_code, ExitCode::kCrashed);
  }
}

TEST(Outcome, TheWorstVerdictWinsInTheOrderOfTheExitCodes) {
  const std::vector<Verdict> by_severity{Verdict::kBadInput,     Verdict::kHarnessFault,
                                         Verdict::kCrash,        Verdict::kFail,
                                         Verdict::kInconclusive, Verdict::kPass};
  for (std::size_t i = 0; i < by_severity.size(); ++i) {
    EXPECT_EQ(combine(std::span(by_severity).subspan(i)), by_severity[i]);
    if (by_severity[i] != Verdict::kPass) {
      EXPECT_EQ(core::combine(exit_code(by_severity[i]), ExitCode::kPass),
                exit_code(by_severity[i]));
    }
  }
}

TEST(Outcome, ABrokenBaselineIsTheHarnesssFaultAndNotTheCandidates) {
  Comparison comparison = comparison_with(make_gate("baseline", 3, 2));
  comparison.gates.push_back(make_gate("G1", 3, 2));
  EXPECT_EQ(record_of("a", comparison).verdict, Verdict::kHarnessFault);
}

TEST(Outcome, ANonBlockingGateDoesNotFail) {
  Comparison comparison = comparison_with(make_gate("G4", 3, 2, false));
  comparison.gates.push_back(make_gate("G1", 1, 2));
  EXPECT_EQ(record_of("a", comparison).verdict, Verdict::kPass);
}

TEST(Outcome, H16ARequiredConditionThatWasNotExercisedIsAHarnessFault) {
  CaseRecord record = passing("a");
  record.conditions.push_back(
      {.name = "YaRN live", .exercised = false, .required = true, .detail = ""});
  settle(record);
  EXPECT_EQ(record.verdict, Verdict::kHarnessFault);
  record.conditions[0].required = false;
  settle(record);
  EXPECT_EQ(record.verdict, Verdict::kPass);
}

TEST(Outcome, AnUnexplainedTracePointFails) {
  CaseRecord record = passing("a");
  record.trace.push_back({.tensor = "layers.1", .divergence = DivergenceClass::kUnexplained});
  settle(record);
  EXPECT_EQ(record.verdict, Verdict::kFail);
  record.trace[0].divergence = DivergenceClass::kAccumulated;
  settle(record);
  EXPECT_EQ(record.verdict, Verdict::kPass);
}

TEST(NameSets, H10C5AnOutputOnOneSideOnlyFailsBothWays) {
  EXPECT_TRUE(compare_names(Names{"a", "b"}, Names{"b", "a"}).empty());
  const auto missing = compare_names(Names{"a"}, Names{"a", "b"});
  ASSERT_EQ(missing.size(), 1U);
  EXPECT_EQ(missing[0].tensor, "b");
  EXPECT_FALSE(missing[0].passed());
  EXPECT_EQ(record_of("a", missing[0]).verdict, Verdict::kFail);
  EXPECT_EQ(compare_names(Names{"a", "b", "c"}, Names{"a", "b"}).size(), 1U);
}

TEST(NameSets, H13NothingExpectedIsAHarnessFault) {
  const auto none = compare_names(Names(), Names());
  ASSERT_EQ(none.size(), 1U);
  EXPECT_EQ(record_of("a", none[0]).verdict, Verdict::kHarnessFault);
}

TEST(NameSets, C6ARepeatedNameFails) {
  EXPECT_EQ(compare_names(Names{"a", "a"}, Names{"a"}).size(), 1U);
  EXPECT_EQ(compare_names(Names{"a"}, Names{"a", "a"}).size(), 1U);
}

TEST(Divergence, PredictionsFollowTheSumOverLayers) {
  const std::vector<double> local{1, 2, 3};
  const std::vector<double> gain{9, 0.5, 2};
  const std::vector<double> predicted = predicted_errors(local, gain);
  EXPECT_DOUBLE_EQ(predicted[0], 1);
  EXPECT_DOUBLE_EQ(predicted[1], std::sqrt(4 + 0.25));
  EXPECT_DOUBLE_EQ(predicted[2], std::sqrt(9 + 4 * 4 + 4 * 0.25));
}

TEST(Divergence, ClassesSeparateBugsFromAccumulation) {
  const auto classify_f32 = [](double headroom, double free_error) {
    return classify({.tensor = "x",
                     .local_headroom = headroom,
                     .free_error = free_error,
                     .baseline_error = 1e-6,
                     .predicted_error = 10e-6},
                    core::Dtype::kF32);
  };
  EXPECT_EQ(classify_f32(0.5, 8.9e-6), DivergenceClass::kClean);
  EXPECT_EQ(classify_f32(0.5, 19e-6), DivergenceClass::kAccumulated);
  EXPECT_EQ(classify_f32(0.5, 21e-6), DivergenceClass::kUnexplained);
  EXPECT_EQ(classify_f32(0.5, std::nan("")), DivergenceClass::kUnexplained);
  EXPECT_EQ(classify_f32(1.01, 1e-9), DivergenceClass::kBug);
  EXPECT_EQ(classify_f32(std::nan(""), 1e-9), DivergenceClass::kBug);
}

TEST(Divergence, AFreeRunThatHonestArithmeticCannotFollowDecidesNothing) {
  TracePoint point{.tensor = "layers.3",
                   .local_headroom = 0.5,
                   .free_error = 1.9,
                   .baseline_error = 0.6,
                   .predicted_error = 0.1};
  EXPECT_EQ(classify(point, core::Dtype::kBF16), DivergenceClass::kAccumulated);
  point.local_headroom = 1.1;
  EXPECT_EQ(classify(point, core::Dtype::kBF16), DivergenceClass::kBug);
}

TEST(Divergence, H8TheFirstDivergenceIsTheEarliestLocalFailure) {
  std::vector<TracePoint> trace(4);
  for (std::size_t i = 0; i < trace.size(); ++i) {
    trace[i].tensor = "layers." + std::to_string(i);
    trace[i].free_error = i == 0 ? 0 : 1;  // everything downstream is off
    trace[i].predicted_error = 1;
  }
  EXPECT_EQ(first_divergence(trace), "");
  trace[2].local_headroom = 50;
  trace[3].local_headroom = 900;
  classify_all(trace, core::Dtype::kF32);
  EXPECT_EQ(first_divergence(trace), "layers.2");
  EXPECT_EQ(trace[1].divergence, DivergenceClass::kAccumulated);
}

/// The embedded model's figures.
core::ModelConfig tiny() {
  core::ModelConfig config;
  config.vocab_size = 211;
  config.hidden_size = 72;
  config.intermediate_size = 136;
  config.moe_intermediate_size = 26;
  config.num_hidden_layers = 4;
  config.num_attention_heads = config.num_key_value_heads = 5;
  config.n_routed_experts = 12;
  config.num_experts_per_tok = 3;
  config.n_group = 4;
  config.topk_group = 2;
  config.q_lora_rank = 44;
  config.kv_lora_rank = 28;
  config.qk_nope_head_dim = 20;
  config.qk_rope_head_dim = 16;
  config.v_head_dim = 14;
  config.index_n_heads = 18;
  config.index_head_dim = 32;
  config.index_topk = 12;
  config.rope_parameters = {.rope_type = core::RopeType::kYarn,
                            .factor = 8,
                            .original_max_position_embeddings = 24,
                            .mscale = 1,
                            .mscale_all_dim = 1,
                            .attention_factor = std::nullopt};
  config.mlp_layer_types = {core::MlpType::kDense, core::MlpType::kSparse, core::MlpType::kSparse,
                            core::MlpType::kSparse};
  return config;
}

ExercisedFacts tiny_facts() {
  ExercisedFacts facts;
  facts.sequence_lengths = {53, 37};
  facts.tokens_per_expert = {{0, 60, 20, 30, 20, 25, 25, 20, 20, 20, 15, 15}};
  facts.selection_bias = {-0.1, 0.2};
  facts.norm_gains = {{0.9, 1.1, 1}, {1.2, 0.8}};
  facts.biases = {{0.1, 0.2}};
  facts.entropy_shares = {0.5, 0.6, 0.95};
  facts.baseline_flips = 4;
  facts.truths = {{.tensor = "logits", .rms = 1, .constant = false}};
  facts.comparisons = 10;
  return facts;
}

Names not_exercised(const core::ModelConfig& config, const ExercisedFacts& facts) {
  Names names;
  for (const Condition& condition : conditions_of(config, facts, true)) {
    EXPECT_EQ(condition.required, condition.name != "an expert without tokens");
    EXPECT_FALSE(condition.detail.empty());
    if (!condition.exercised) {
      names.push_back(condition.name);
    }
  }
  return names;
}

TEST(Conditions, TheEmbeddedModelExercisesAll) {
  EXPECT_EQ(not_exercised(tiny(), tiny_facts()), Names());
  EXPECT_GE(conditions_of(tiny(), tiny_facts(), true).size(), 15U);
  EXPECT_FALSE(conditions_of(tiny(), tiny_facts(), false).front().required);
}

TEST(Conditions, H16ASparseChoiceThatNeverExcludesAKeyIsFound) {
  core::ModelConfig config = tiny();
  config.index_topk = 2048;
  EXPECT_EQ(not_exercised(config, tiny_facts()),
            (Names{"sequence longer than index_topk",
                   "a quarter of (query, key) pairs excluded by selection"}));
}

TEST(Conditions, H16AYarnBranchThatIsNeverTakenIsFound) {
  core::ModelConfig config = tiny();
  config.rope_parameters.original_max_position_embeddings = 4096;
  EXPECT_EQ(not_exercised(config, tiny_facts()),
            Names{"YaRN live: longer than the original context"});
  config = tiny();
  config.rope_parameters.mscale_all_dim = std::nullopt;
  EXPECT_EQ(not_exercised(config, tiny_facts()), Names{"YaRN mscale scales the softmax"});
}

TEST(Conditions, EachVacuousFactIsFoundAlone) {
  const auto only = [](auto change) {
    core::ModelConfig config = tiny();
    ExercisedFacts facts = tiny_facts();
    change(config, facts);
    return not_exercised(config, facts);
  };
  EXPECT_EQ(only([](auto&, auto& f) {
              f.sequence_lengths = {53, 53};
            }),
            Names{"a batch of rows of different lengths"});
  EXPECT_EQ(only([](auto& c, auto&) { c.topk_group = 4; }),
            Names{"expert groups limit the choice"});
  EXPECT_EQ(only([](auto& c, auto&) { c.v_head_dim = 20; }), Names{"dimensions pairwise distinct"});
  EXPECT_EQ(only([](auto&, auto& f) {
              f.selection_bias = {0.1, 0.2};
            }),
            Names{"selection bias varies and has negatives"});
  EXPECT_EQ(only([](auto&, auto& f) {
              f.selection_bias = {-0.1, -0.1};
            }),
            Names{"selection bias varies and has negatives"});
  EXPECT_EQ(only([](auto&, auto& f) {
              f.norm_gains[1] = {1, 1};
            }),
            Names{"norm gains differ from 1"});
  EXPECT_EQ(only([](auto&, auto& f) { f.biases[0] = {0, 0}; }), Names{"biases differ from 0"});
  EXPECT_EQ(only([](auto&, auto& f) {
              f.entropy_shares = {0.99, 0.1, 0.5};
            }),
            Names{"attention neither one-hot nor uniform"});
  EXPECT_EQ(only([](auto&, auto& f) { f.baseline_flips = 0; }),
            Names{"the baseline flips selections"});
  EXPECT_EQ(only([](auto&, auto& f) { f.truths[0].constant = true; }),
            Names{"no truth tensor is zero or constant"});
  EXPECT_EQ(only([](auto&, auto& f) { f.comparisons = 0; }),
            Names{"as many comparisons as expected"});
  EXPECT_EQ(only([](auto&, auto& f) { f.tokens_per_expert[0][0] = 1; }),
            Names{"an expert without tokens"});
}

TEST(Conditions, TruthFactsTellZeroAndConstantTensors) {
  const Tensor constant{.dtype = core::Dtype::kF64, .shape = {3}, .values = {2, 2, 2}};
  EXPECT_TRUE(truth_fact("x", constant).constant);
  const Tensor scalar{.dtype = core::Dtype::kF64, .shape = {}, .values = {2}};
  EXPECT_FALSE(truth_fact("x", scalar).constant);
  EXPECT_EQ(truth_fact("x", scalar).rms, 2);
}

}  // namespace
}  // namespace sparity::judge
