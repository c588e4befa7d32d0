// `sparity compare` and files that do not belong together: exit code 5 with file, field and both
// values, never a verdict.

#include "reports/report_json.h"
#include "src/core/safetensors.h"
#include "suites/selftest/compare_fixture.h"
#include "suites/selftest/dump_edit.h"
#include "suites/selftest/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace sparity::selftest {
namespace {

namespace fs = std::filesystem;
using core::Dtype;
using testing::HasSubstr;

/// Noise that bfloat16 would excuse and float32 does not.
void make_noisy(DumpEdit& dump) {
  auto* logits = dump.values<float>("logits");
  for (std::size_t i = 0; i < dump.tensors.at("logits").bytes.size() / sizeof(float); ++i) {
    logits[i] *= i % 2 == 0 ? 1.002F : 0.998F;
  }
}

/// Every tensor that a report printed by --json judges.
std::vector<std::string> judged_in(const Finished& done) {
  const reports::Report report =
      reports::report_from_json(nlohmann::json::parse(done.out), "the report");
  std::vector<std::string> names;
  for (const judge::Comparison& comparison : report.cases.at(0).comparisons) {
    names.push_back(comparison.tensor);
  }
  return names;
}

TEST_F(Compare, HonestDumpPassesWithEveryIdentityConfirmed) {
  const Finished done = compare("candidate", untouched);
  EXPECT_EQ(done.exit_code, 0) << done.out << done.err;
  EXPECT_THAT(done.err, testing::Not(HasSubstr("not exercised")));
}

TEST_F(Compare, DtypeOfTheMetadataIsNotOverruled) {
  EXPECT_EQ(compare("candidate", make_noisy).exit_code, 1);
  EXPECT_EQ(compare("candidate", make_noisy, "--dtype float32").exit_code, 1);
  expect_refused("candidate", make_noisy,
                 {"metadata 'dtype': expected bfloat16 (--dtype), found float32"},
                 "--dtype bfloat16");
  expect_refused("candidate", says("dtype", "float8"), {"'dtype'", R"("float8")"});
}

TEST_F(Compare, ADumpWithoutDtypeIsInferredAskedForAndNamed) {
  const auto silent = [](DumpEdit& dump) { dump.metadata.erase("dtype"); };
  expect_refused("candidate", silent, {"metadata 'dtype'", "found none", "--dtype"});
  const Finished told = compare("candidate", silent, "--dtype float32");
  EXPECT_EQ(told.exit_code, 0) << told.out << told.err;
  EXPECT_THAT(told.err, HasSubstr("float32 is assumed, because --dtype says so"));
  // Stored in bfloat16: then a float32 baseline is not its baseline.
  const Finished inferred = compare("candidate", [](DumpEdit& dump) {
    dump.metadata.erase("dtype");
    DumpEdit::Stored& logits = dump.tensors.at("logits");
    std::vector<std::byte> halves;
    for (std::size_t i = 0; i < logits.bytes.size(); i += 4) {
      halves.insert(halves.end(), {logits.bytes[i + 2], logits.bytes[i + 3]});
    }
    logits.dtype = Dtype::kBF16;
    logits.bytes = halves;
  });
  EXPECT_EQ(inferred.exit_code, 5);
  EXPECT_THAT(inferred.err, HasSubstr("baseline.safetensors: metadata 'dtype': expected bfloat16 "
                                      "as of the candidate, found float32"));
}

TEST_F(Compare, FilesOfOtherModelsOrInputsAreRefused) {
  for (const std::string role : {"candidate", "truth", "baseline"}) {
    expect_refused(role, says("config_hash", "0123456789abcdef"),
                   {"'config_hash'", "0123456789abcdef"});
    expect_refused(role, says("inputs_hash", "0123456789abcdef"),
                   {"'inputs_hash'", "0123456789abcdef"});
    expect_refused(role, says("attention", "dense"), {"'attention'", "sparse", "dense"});
    expect_refused(role, says("inputs_hash", "\u202e"), {R"(\u202e)"});  // no raw text of a file
  }
}

TEST_F(Compare, RolesAreKept) {
  expect_refused("truth", says("dtype", "float32"),
                 {"metadata 'dtype': expected float64, found float32"});
  expect_refused("truth", says("impl", "src"), {"metadata 'impl': expected reference, found src"});
  expect_refused("baseline", says("impl", "src"), {"metadata 'impl'"});
  expect_refused("baseline", says("dtype", "bfloat16"),
                 {"metadata 'dtype': expected float32 as of the candidate, found bfloat16"});
  const Finished twice =
      run_sparity("compare " + quoted(made("candidate")) + " --truth " + quoted(made("truth")) +
                  " --baseline " + quoted(made("candidate")));
  EXPECT_EQ(twice.exit_code, 5);
  EXPECT_THAT(twice.err, HasSubstr("--baseline: expected another file than CANDIDATE"));
}

TEST_F(Compare, TheBaselineRoundsBfloat16WhereTheCandidateDoes) {
  run("candidate16", "--dtype bfloat16");
  run("official16", "--impl reference --dtype bfloat16");
  run("hf16", "--impl reference --dtype bfloat16 --recipe hf");
  const std::string line = "compare --partial " + quoted(made("candidate16")) + " --truth " +
                           quoted(made("truth")) + " --baseline ";
  EXPECT_NE(run_sparity(line + quoted(made("official16"))).exit_code, 5);
  const Finished refused = run_sparity(line + quoted(made("hf16")));
  EXPECT_EQ(refused.exit_code, 5);
  EXPECT_THAT(refused.err, HasSubstr(R"(metadata 'recipe': expected "official" as in)"));
}

TEST_F(Compare, MissingMetadataIsNotedAndNoMore) {
  const Finished done = compare("candidate", [](DumpEdit& dump) {
    dump.metadata = {{"dtype", "float32"}, {"attention", "sdpa"}};
  });
  EXPECT_EQ(done.exit_code, 0) << done.out << done.err;
  for (const char* key : {"'config_hash'", "'inputs_hash'", "'attention'"}) {
    EXPECT_THAT(done.err, HasSubstr(key));
  }
}

TEST_F(Compare, InputsOfAnotherShapeAreRefused) {
  const fs::path in = own_.path() / "other.safetensors";
  const std::vector<std::int64_t> ids(6, 1);
  core::write_safetensors(in, {{"input_ids", Dtype::kI64, {2, 3}, std::as_bytes(std::span(ids))}});
  const Finished done = run_sparity("compare " + quoted(made("candidate")) + " --truth " +
                                    quoted(made("truth")) + " --inputs " + quoted(in));
  EXPECT_EQ(done.exit_code, 5);
  EXPECT_THAT(done.err, HasSubstr("other.safetensors: 'input_ids'"));
  EXPECT_THAT(done.err, HasSubstr("[2, 3]"));
}

TEST_F(Compare, TensorsOfAnImpossibleTypeAreTheirFilesFault) {
  const auto integer_logits = [](DumpEdit& dump) { dump.tensors.at("logits").dtype = Dtype::kI32; };
  for (const std::string role : {"candidate", "baseline"}) {
    expect_refused(role, integer_logits, {"tensor 'logits': expected F32", "found I32"});
  }
  expect_refused("truth", [](DumpEdit& dump) { dump.tensors.at("logits").dtype = Dtype::kI64; },
                 {"tensor 'logits': expected F64", "found I64"});
}

TEST_F(Compare, AChoiceOfAnotherShapeFails) {
  const Finished done = compare("candidate", [](DumpEdit& dump) {
    for (auto& [name, tensor] : dump.tensors) {
      if (name.ends_with(".topk_indices")) {
        tensor.shape = {tensor.shape[0] * tensor.shape[1], tensor.shape[2]};
      }
    }
  });
  EXPECT_EQ(done.exit_code, 1) << done.out << done.err;
}

TEST_F(Compare, ANameThatIsNoLayersDoesNotStopIt) {
  const Finished done = compare("candidate", [](DumpEdit& dump) {
    dump.tensors.emplace("trace.layers.x", dump.tensors.at("logits"));
    dump.tensors.emplace("trace.layers.99999999999999999999.q", dump.tensors.at("logits"));
  });
  EXPECT_EQ(done.exit_code, 1) << done.out << done.err;
}

TEST_F(Compare, ExpertsGradientsAreJudgedTogether) {
  const Finished done = compare("candidate", untouched, "--json");
  const std::vector<std::string> names = judged_in(done);
  EXPECT_THAT(names, testing::Contains("grad.model.layers.1.mlp.experts.up_proj.weight"));
  EXPECT_THAT(names, testing::Each(testing::Not(HasSubstr(".mlp.experts.0.up_proj.weight"))));
  // One wrong element of one expert is still seen.
  const Finished wrong = compare("candidate", [](DumpEdit& dump) {
    const std::string name = "grad.model.layers.1.mlp.experts.0.up_proj.weight";
    ASSERT_TRUE(dump.tensors.contains(name));
    dump.values<float>(name)[0] += 1.0F;
  });
  EXPECT_EQ(wrong.exit_code, 1) << wrong.out << wrong.err;
  EXPECT_THAT(wrong.out, HasSubstr(".mlp.experts.up_proj.weight"));
}

/// An error that the rounding of a whole run would excuse shows beside what the loss was made from.
TEST_F(Compare, ALossMustBeThatOfTheCandidatesOwnDump) {
  const auto off_by = [](const std::string& name, float factor) {
    return [=](DumpEdit& dump) { *dump.values<float>(name) *= factor; };
  };
  const Finished sum = compare("candidate", off_by("loss", 1 + 0x1p-20F));
  EXPECT_EQ(sum.exit_code, 1) << sum.out;
  EXPECT_THAT(sum.out, HasSubstr("loss: own failed"));
  EXPECT_EQ(compare("candidate", off_by("lm_loss", 1.001F)).exit_code, 1);
  EXPECT_EQ(compare("candidate", untouched).exit_code, 0);
}

/// What the suites allow for sums that cancel, a dump's comparison must allow too.
TEST_F(Compare, GradientsOfTheKlLossPassWithEveryNameThatTheReferenceShows) {
  for (const std::string loss : {"kl", "lm+kl"}) {
    const std::string line = "--grads --trace '*' --loss " + loss;
    const std::string follow = line + " --impl reference --force " + quoted(made("own")) +
                               " --force-names '*topk_indices' --dtype ";
    run("own", line);
    run("its_truth", follow + "float64");
    run("its_baseline", follow + "float32");
    const std::string files = "compare " + quoted(made("own")) + " --truth " +
                              quoted(made("its_truth")) + " --baseline " +
                              quoted(made("its_baseline"));
    const Finished done = run_sparity(files + golden_inputs() + golden_model() + " --json");
    EXPECT_EQ(done.exit_code, 0) << loss << done.err;
    EXPECT_THAT(judged_in(done), testing::Contains("trace.grad.layers.0.self_attn.indexer.scores"));
    // A gradient that the fused pass shows is judged like any other.
    edit(made("own"), own_.path() / "wrong.safetensors", [](DumpEdit& dump) {
      dump.values<float>("trace.grad.layers.0.self_attn.indexer.scores")[0] += 1.0F;
    });
    const Finished wrong =
        run_sparity("compare " + quoted(own_.path() / "wrong.safetensors") + " --truth " +
                    quoted(made("its_truth")) + " --baseline " + quoted(made("its_baseline")) +
                    golden_inputs() + golden_model());
    EXPECT_EQ(wrong.exit_code, 1) << wrong.out;
  }
}

TEST_F(Compare, AGradientOfTheScoresThatIsForcedIsRefused) {
  run("shown", "--grads --loss kl --trace 'grad.*'");
  edit(made("shown"), own_.path() / "forced.safetensors", [](DumpEdit& dump) {
    dump.values<float>("trace.grad.layers.0.self_attn.indexer.scores")[0] += 1.0F;
  });
  const Finished done =
      run_sparity("run --grads --loss kl" + golden_model() + golden_inputs() + " --out " +
                  quoted(own_.path() / "out.safetensors") + " --force " +
                  quoted(own_.path() / "forced.safetensors") + " --force-names '*indexer.scores'");
  EXPECT_EQ(done.exit_code, 5) << done.out << done.err;
  EXPECT_THAT(done.err, HasSubstr("indexer.scores"));
}

}  // namespace
}  // namespace sparity::selftest
