// `sparity init`, `inspect`, `run` and `compare` as a user meets them.

#include "src/core/safetensors.h"
#include "suites/selftest/program.h"
#include "suites/selftest/scratch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace sparity::selftest {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string quoted(const fs::path& path) { return "'" + path.string() + "'"; }

std::string run_line(const fs::path& out, const std::string& more = "") {
  return "run --model " + quoted(kGolden) + " --inputs " + quoted(kGolden / "inputs.safetensors") +
         " --out " + quoted(out) + " " + more;
}

/// A safetensors file with I64 tensors.
void write_ids(const fs::path& path, const std::string& name, std::vector<std::int64_t> values,
               std::vector<std::int64_t> shape) {
  core::write_safetensors(path,
                          {{name, core::Dtype::kI64, shape, std::as_bytes(std::span(values))}});
}

TEST(Cli, EveryCommandExplainsItselfWithAnExample) {
  for (const std::string command : {"check", "run", "train", "compare", "init", "inspect", "bench",
                                    "report render", "report diff", "selfcheck", "doctor"}) {
    const Finished help = run_sparity(command + " --help");
    EXPECT_EQ(help.exit_code, 0) << command;
    EXPECT_THAT(help.out, HasSubstr("Example:\n  sparity ")) << command;
  }
}

TEST(Cli, WrongUsageIsExitFive) {
  EXPECT_EQ(run_sparity("").exit_code, 5);
  EXPECT_EQ(run_sparity("nonsense").exit_code, 5);
  EXPECT_EQ(run_sparity("run --model x").exit_code, 5);
  EXPECT_EQ(run_sparity("check nonsense").exit_code, 5);
}

TEST(Cli, DoctorFindsTheSuiteProgram) { EXPECT_EQ(run_sparity("doctor").exit_code, 0); }

TEST(Cli, InitWritesWhatInspectFinds) {
  const ScratchFolder folder;
  const fs::path model = folder.path() / "m";
  EXPECT_EQ(run_sparity("init --config tiny --seed 3 --out " + quoted(model)).exit_code, 0);
  const Finished inspected = run_sparity("inspect " + quoted(model));
  EXPECT_EQ(inspected.exit_code, 0) << inspected.err;
  EXPECT_THAT(inspected.out, HasSubstr("fits its config"));
  EXPECT_EQ(run_sparity("init --config tiny --out " + quoted(model)).exit_code, 5);  // not empty
}

TEST(Cli, RunWritesLogitsLossAndTraces) {
  const ScratchFolder folder;
  const fs::path out = folder.path() / "out.safetensors";
  const Finished done =
      run_sparity(run_line(out, "--trace '*indexer.topk_indices' --trace nothing"));
  ASSERT_EQ(done.exit_code, 0) << done.err;
  EXPECT_THAT(done.err, HasSubstr("--trace 'nothing' matches nothing"));
  const core::SafetensorsFile file(out);
  EXPECT_EQ(file.at("logits").dtype, core::Dtype::kF32);
  EXPECT_TRUE(file.at("lm_loss").shape.empty());
  EXPECT_EQ(file.at("trace.layers.0.self_attn.indexer.topk_indices").dtype, core::Dtype::kI64);
  EXPECT_EQ(file.metadata().at("trace_unmatched"), "nothing");
  EXPECT_EQ(file.metadata().at("impl"), "src");
}

TEST(Cli, RunRefusesBadInputAndLeavesNoFile) {
  const ScratchFolder folder;
  const fs::path out = folder.path() / "out.safetensors";
  const fs::path in = folder.path() / "in.safetensors";
  const std::string line =
      "run --model " + quoted(kGolden) + " --inputs " + quoted(in) + " --out " + quoted(out);
  const auto refused = [&](const std::string& because) {
    const Finished done = run_sparity(line);
    EXPECT_EQ(done.exit_code, 5) << because;
    EXPECT_THAT(done.err, HasSubstr(because));
    EXPECT_THAT(done.err, HasSubstr(in.string()));
    EXPECT_FALSE(fs::exists(out));
  };
  refused("in.safetensors");  // missing
  std::ofstream(in) << "not a safetensors file";
  refused("in.safetensors");
  write_ids(in, "input_ids", {1, 2, 100000}, {1, 3});
  refused("'input_ids'[0, 2]");
  write_ids(in, "input_ids", {1, 2, 3}, {3});
  refused("'input_ids': expected shape [B, S]");
  write_ids(in, "tokens", {1, 2, 3}, {1, 3});
  refused("unknown tensor 'tokens'");
}

TEST(Cli, RunRefusesACheckpointThatDoesNotFit) {
  const ScratchFolder folder;
  const fs::path model = folder.path() / "m";
  fs::copy(kGolden, model, fs::copy_options::recursive);
  std::string config;
  {
    std::ifstream file(model / "config.json");
    config.assign(std::istreambuf_iterator<char>(file), {});
  }
  const std::size_t at = config.find("\"hidden_act\": \"silu\"");
  ASSERT_NE(at, std::string::npos);
  config.replace(at, 20, "\"hidden_act\": \"gelu\"");
  std::ofstream(model / "config.json") << config;
  const fs::path out = folder.path() / "out.safetensors";
  const Finished done =
      run_sparity("run --model " + quoted(model) + " --inputs " +
                  quoted(kGolden / "inputs.safetensors") + " --out " + quoted(out));
  EXPECT_EQ(done.exit_code, 5);
  EXPECT_THAT(done.err, HasSubstr("config.json"));
  EXPECT_THAT(done.err, HasSubstr("/hidden_act"));
  EXPECT_FALSE(fs::exists(out));
}

/// Truth and baseline that follow a candidate's choices, then the verdict.
int verdict_of(const ScratchFolder& folder, const fs::path& candidate,
               const std::string& baseline) {
  const fs::path truth = folder.path() / "truth.safetensors";
  const fs::path honest = folder.path() / "baseline.safetensors";
  const std::string follow = " --impl reference --trace '*' --force " + quoted(candidate) +
                             " --force-names '*topk_indices' ";
  EXPECT_EQ(run_sparity(run_line(truth, follow + "--dtype float64")).exit_code, 0);
  EXPECT_EQ(run_sparity(run_line(honest, follow + baseline)).exit_code, 0);
  return run_sparity("compare " + quoted(candidate) + " --truth " + quoted(truth) + " --baseline " +
                     quoted(honest) + " --inputs " + quoted(kGolden / "inputs.safetensors") +
                     " --model " + quoted(kGolden))
      .exit_code;
}

TEST(Cli, ComparePassesAnHonestDump) {
  const ScratchFolder folder;
  const fs::path candidate = folder.path() / "candidate.safetensors";
  ASSERT_EQ(run_sparity(run_line(candidate, "--trace '*'")).exit_code, 0);
  EXPECT_EQ(verdict_of(folder, candidate, "--dtype float32"), 0);
}

TEST(Cli, CompareFailsADumpWithOneWrongElement) {
  const ScratchFolder folder;
  const fs::path candidate = folder.path() / "candidate.safetensors";
  ASSERT_EQ(run_sparity(run_line(candidate, "--trace '*'")).exit_code, 0);
  const core::SafetensorsFile file(candidate);
  std::vector<std::vector<std::byte>> kept;
  std::vector<core::TensorBytes> tensors;
  for (const auto& [name, entry] : file.tensors()) {
    kept.push_back(file.read(name));
    if (name == "logits") {
      float value = 0;
      std::memcpy(&value, kept.back().data(), sizeof value);
      value += 0.01F;
      std::memcpy(kept.back().data(), &value, sizeof value);
    }
    tensors.push_back({name, entry.dtype, entry.shape, kept.back()});
  }
  const fs::path spoilt = folder.path() / "spoilt.safetensors";
  core::write_safetensors(spoilt, tensors, file.metadata());
  EXPECT_EQ(verdict_of(folder, spoilt, "--dtype float32"), 1);
}

}  // namespace
}  // namespace sparity::selftest
