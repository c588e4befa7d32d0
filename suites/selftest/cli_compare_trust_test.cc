// What `sparity compare` must not take for a pass: values that the candidate made itself the truth
// of, choices that nobody judged, files that nobody vouches for.

#include "src/core/file_io.h"
#include "src/core/safetensors.h"
#include "suites/selftest/compare_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>

namespace sparity::selftest {
namespace {

using testing::HasSubstr;

class Trust : public Compare {
 protected:
  /// Truth and baseline of this test's own candidate, forced to what of it the glob matches.
  void follow(const std::string& glob, const std::string& more = "") const {
    const std::string line = "run --impl reference --grads --trace '*' --force " +
                             quoted(at("candidate")) + " --force-names '" + glob + "'" + more +
                             golden_model() + golden_inputs();
    ASSERT_EQ(run_sparity(line + " --dtype float64 --out " + quoted(at("truth"))).exit_code, 0);
    ASSERT_EQ(run_sparity(line + " --dtype float32 --out " + quoted(at("baseline"))).exit_code, 0);
  }
  std::filesystem::path at(const std::string& name) const {
    return own_.path() / (name + ".safetensors");
  }
  std::string both() const { return golden_inputs() + golden_model(); }
};

std::string indexer(int layer, const std::string& what) {
  return "trace.layers." + std::to_string(layer) + ".self_attn.indexer." + what;
}

/// Every query takes its last keys, as a model without an indexer does.
void take_last_keys(DumpEdit& dump) {
  for (auto& [name, tensor] : dump.tensors) {
    if (!name.ends_with(".indexer.topk_indices")) {
      continue;
    }
    const std::int64_t width = tensor.shape[2];
    auto* keys = dump.values<std::int64_t>(name);
    for (std::int64_t row = 0; row < tensor.shape[0] * tensor.shape[1]; ++row) {
      const std::int64_t query = row % tensor.shape[1];
      for (std::int64_t i = 0; i < width; ++i) {
        keys[row * width + i] = std::max<std::int64_t>(query - i, -1);
      }
    }
  }
}

/// The router takes the worst experts: every one is replaced by its neighbour.
void take_other_experts(DumpEdit& dump, std::int64_t experts) {
  for (auto& [name, tensor] : dump.tensors) {
    if (name.ends_with(".gate.topk_indices")) {
      auto* chosen = dump.values<std::int64_t>(name);
      for (std::size_t i = 0; i < tensor.bytes.size() / sizeof(std::int64_t); ++i) {
        chosen[i] = (chosen[i] + experts / 2) % experts;
      }
    }
  }
}

void without_scores(DumpEdit& dump) {
  std::erase_if(dump.tensors, [](const auto& entry) { return entry.first.ends_with(".scores"); });
}

TEST_F(Trust, WhatWasForcedIsRecordedWithItsFile) {
  const DumpEdit truth(made("truth"));
  EXPECT_EQ(truth.metadata.at("forced_sha256"), core::sha256_of_file(made("candidate")));
  EXPECT_EQ(truth.metadata.at("forced_values"), "");
  EXPECT_GT(std::stoi(truth.metadata.at("forced_choices")), 0);
  const DumpEdit free(made("candidate"));
  EXPECT_EQ(free.metadata.at("forced_choices"), "0");
  EXPECT_FALSE(free.metadata.contains("forced_sha256"));
}

TEST_F(Trust, ATruthThatWasGivenTheCandidatesValuesIsRefused) {
  change("candidate", untouched);
  follow("trace.*");
  EXPECT_LT(DumpEdit(at("truth")).metadata.at("forced_values").size(), 1000U);
  const Finished done = compare_files(both());
  EXPECT_EQ(done.exit_code, 5) << done.out;
  EXPECT_THAT(done.err, HasSubstr("truth.safetensors: metadata 'forced_values': expected none but "
                                  "choices"));
  EXPECT_EQ(compare_files(both() + " --trust-baseline").exit_code, 5);
}

TEST_F(Trust, ForcedValuesAreNobodysOwn) {
  for (const std::string role : {"candidate", "truth", "baseline"}) {
    expect_refused(role, says("forced_values", "trace.norm"),
                   {"metadata 'forced_values'", "trace.norm"});
  }
}

TEST_F(Trust, AnotherFilesChoicesAreNamed) {
  const Finished done = compare("truth", says("forced_sha256", "0123"));
  EXPECT_EQ(done.exit_code, 0) << done.out << done.err;
  EXPECT_THAT(done.err,
              HasSubstr("truth.safetensors followed the choices of the candidate's file"));
  EXPECT_THAT(done.err, HasSubstr("0123"));
}

TEST_F(Trust, AModelWithoutAnIndexerDoesNotPass) {
  change("candidate", take_last_keys);
  follow("*topk_indices");
  change("candidate", without_scores);
  const Finished seen = compare_files(both() + " --partial");
  EXPECT_EQ(seen.exit_code, 1) << seen.out << seen.err;  // the truth's scores show it
  EXPECT_THAT(seen.out, HasSubstr(indexer(0, "topk_indices")));
  change("truth", without_scores);
  change("baseline", without_scores);
  const Finished open = compare_files(both());
  EXPECT_NE(open.exit_code, 0) << open.out << open.err;
  EXPECT_THAT(open.out + open.err, HasSubstr("--trace '*indexer.scores'"));
}

TEST_F(Trust, AChoiceThatTheTruthFollowedAndNobodyJudgedLeavesTheVerdictOpen) {
  for (const std::string role : {"candidate", "truth", "baseline"}) {
    change(role, without_scores);
  }
  const Finished open = compare_files(both());
  EXPECT_EQ(open.exit_code, 3) << open.out << open.err;
  EXPECT_THAT(open.out, HasSubstr("--trace '*indexer.scores'"));
  // Not shown at all is not judged either.
  for (const std::string role : {"candidate", "truth", "baseline"}) {
    change(role, [](DumpEdit& dump) {
      std::erase_if(dump.tensors,
                    [](const auto& entry) { return entry.first.ends_with("topk_indices"); });
    });
  }
  const Finished hidden = compare_files(both());
  EXPECT_EQ(hidden.exit_code, 3) << hidden.out << hidden.err;
  EXPECT_THAT(hidden.out, HasSubstr("only 0 are in the dumps"));
}

TEST_F(Trust, AChoiceOfATruthThatRanFreeIsItsOwnJudge) {
  for (const std::string role : {"candidate", "truth", "baseline"}) {
    change(role, without_scores);
    change(role, says("forced_choices", "0"));
  }
  const Finished done = compare_files(both());
  EXPECT_EQ(done.exit_code, 0) << done.out << done.err;
}

TEST_F(Trust, WrongExpertsDoNotPassForWantOfTheModel) {
  const Finished honest = compare_files(golden_inputs());
  EXPECT_EQ(honest.exit_code, 3) << honest.out << honest.err;
  EXPECT_THAT(honest.out, HasSubstr("add --model DIR"));
  const std::int64_t experts =
      DumpEdit(made("candidate")).tensors.at("trace.layers.1.mlp.gate.scores").shape.back();
  change("candidate", [&](DumpEdit& dump) { take_other_experts(dump, experts); });
  follow("*topk_indices");
  EXPECT_NE(compare_files(golden_inputs()).exit_code, 0);
  EXPECT_EQ(compare_files(both()).exit_code, 1);
}

TEST_F(Trust, WithoutABaselineNoChoiceIsJudged) {
  const Finished done = run_sparity("compare " + quoted(made("candidate")) + " --truth " +
                                    quoted(made("truth")) + both());
  EXPECT_EQ(done.exit_code, 3) << done.out << done.err;
  EXPECT_THAT(done.out, HasSubstr("add --baseline FILE"));
}

TEST_F(Trust, ABaselineWithOtherChoicesIsNoMeasure) {
  const Finished done = compare("baseline", take_last_keys);
  EXPECT_EQ(done.exit_code, 3) << done.out << done.err;
  EXPECT_THAT(done.out, HasSubstr("the baseline ran with another choice"));
}

TEST_F(Trust, ACandidateThatFollowedOthersChoicesShowsNoneOfItsOwn) {
  const Finished done = compare("candidate", says("forced_choices", "3"));
  EXPECT_EQ(done.exit_code, 3) << done.out << done.err;
  EXPECT_THAT(done.out, HasSubstr("somebody else's choices"));
}

TEST_F(Trust, TruthAndBaselineSayWhoMadeThem) {
  for (const std::string role : {"truth", "baseline"}) {
    expect_refused(
        role, says("impl", "transformers"),
        {"metadata 'impl': expected reference, found \"transformers\"", "--trust-baseline"});
    expect_refused(role, [](DumpEdit& dump) { dump.metadata.erase("impl"); },
                   {"metadata 'impl': expected reference, found none"});
    expect_refused(role, [](DumpEdit& dump) { dump.metadata.erase("forced_values"); },
                   {"metadata 'forced_values'", "found none"});
    expect_refused(role, says("forced_choices", "many"), {"'forced_choices'", "many"});
    expect_refused(role, says("impl", "src"), {"expected reference, found src"},
                   "--trust-baseline");
    const Finished trusted = compare(role, says("impl", "transformers"), "--trust-baseline");
    EXPECT_EQ(trusted.exit_code, 0) << trusted.out << trusted.err;
    EXPECT_THAT(trusted.err, HasSubstr("trusted (--trust-baseline)"));
  }
}

/// Candidate and "baseline" with one mistake: each is as far from the truth as the other.
TEST_F(Trust, ABaselineWithTheCandidatesMistakeIsRefused) {
  const auto shrink = [](DumpEdit& dump) {
    auto* logits = dump.values<float>("logits");
    for (std::size_t i = 0; i < dump.tensors.at("logits").bytes.size() / sizeof(float); ++i) {
      logits[i] *= 0.85F;
    }
  };
  change("candidate", shrink);
  expect_refused("baseline",
                 [&](DumpEdit& dump) {
                   shrink(dump);
                   dump.metadata.erase("impl");
                   dump.tensors.at("logits").bytes[0] ^= std::byte{1};
                 },
                 {"metadata 'impl'"});
  expect_refused(
      "baseline",
      [&](DumpEdit& dump) {
        shrink(dump);
        dump.metadata.erase("impl");
      },
      {"tensor 'logits': expected at most"}, "--trust-baseline");
}

}  // namespace
}  // namespace sparity::selftest
