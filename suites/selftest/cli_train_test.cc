// `sparity train` as a user meets it: every stage, resuming, and everything that can go wrong.

#include "src/core/dtype.h"
#include "src/core/model_config.h"
#include "src/core/safetensors.h"
#include "src/core/tensor_manifest.h"
#include "src/train/stage.h"
#include "suites/selftest/dump_edit.h"
#include "suites/selftest/program.h"
#include "suites/selftest/scratch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <sys/wait.h>
#include <vector>

namespace sparity::selftest {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using train::Stage;

std::vector<nlohmann::json> lines_of(const fs::path& path) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    lines.push_back(nlohmann::json::parse(line));
  }
  return lines;
}

/// A seeded tiny model and four rows of 17 to 32 tokens.
class Train : public testing::Test {
 protected:
  Train() {
    EXPECT_EQ(run_sparity("init --config tiny --seed 3 --out " + quoted(model())).exit_code, 0);
    std::ofstream file(data());
    for (int row = 0; row < 4; ++row) {
      nlohmann::json ids;
      for (int i = 0; i < 17 + 5 * row; ++i) {
        ids.push_back((i * i + 31 * row) % 211);
      }
      file << nlohmann::json{{"input_ids", ids}}.dump() << "\n";
    }
  }

  fs::path model() const { return folder_.path() / "model"; }
  fs::path data() const { return folder_.path() / "data.jsonl"; }
  fs::path at(const std::string& name) const { return folder_.path() / name; }

  /// The command but for --out and what `more` says.
  std::string line(const std::string& more) const {
    return "train --threads 1 --model " + quoted(model()) + " --data " + quoted(data()) + " " +
           more;
  }
  Finished run(const std::string& out, const std::string& more) const {
    return run_sparity(line(more) + " --out " + quoted(at(out)));
  }
  /// Exit code 5 with this in the message, and no folder.
  void refused(const std::string& more, const std::string& because) const {
    const Finished done = run("refused", more);
    EXPECT_EQ(done.exit_code, 5) << more;
    EXPECT_THAT(done.err, HasSubstr(because));
    EXPECT_FALSE(fs::exists(at("refused"))) << more;
  }
  void same_files(const fs::path& a, const fs::path& b) const {
    for (const char* file : {"config.json", "model.safetensors", "optimizer.safetensors"}) {
      EXPECT_TRUE(content_of(a / file) == content_of(b / file)) << a << " " << b << " " << file;
    }
  }

 private:
  ScratchFolder folder_;
};

/// Whether a parameter's bytes are those of the model that training began with.
bool changed(const core::SafetensorsFile& before, const core::SafetensorsFile& after,
             const std::string& name) {
  return before.read(name) != after.read(name);
}

class EveryStage : public Train, public testing::WithParamInterface<Stage> {};

TEST_P(EveryStage, LearnsARepeatedBatchAndChangesWhatItTrainsAlone) {
  const std::string stage(core::word_of(GetParam()));
  const Finished done =
      run("out", "--stage " + stage + " --steps 20 --batch 4 --lr 2e-3 --json --validate " +
                     quoted(data()));
  ASSERT_EQ(done.exit_code, 0) << done.err;
  const nlohmann::json summary = nlohmann::json::parse(done.out);
  EXPECT_LT(summary.at("last_loss").get<double>(), 0.9 * summary.at("first_loss").get<double>());
  EXPECT_LT(summary.at("validation_loss").get<double>(), summary.at("last_loss").get<double>());
  EXPECT_TRUE(summary.at("without_gradient").empty()) << summary.at("without_gradient");

  const std::vector<nlohmann::json> lines = lines_of(at("out") / "metrics.jsonl");
  ASSERT_EQ(lines.size(), 21U);
  const train::StageRules rules = train::rules_of(GetParam());
  EXPECT_EQ(lines[0].contains("lm_loss"), rules.wants_lm());
  EXPECT_EQ(lines[0].contains("kl_loss"), rules.wants_kl());
  EXPECT_EQ(lines[0].contains("balance_loss"), GetParam() == Stage::kPretrain);
  const double loss = lines[0].at("loss").get<double>();
  EXPECT_EQ(std::strtod(lines[0].at("loss_hex").get<std::string>().c_str(), nullptr), loss);
  EXPECT_EQ(lines[0].at("tokens"), 17 + 22 + 27 + 32);

  const core::TensorManifest manifest(core::read_model_config(model()).config);
  const core::SafetensorsFile before(model() / "model.safetensors");
  const core::SafetensorsFile after(at("out") / "step-20" / "model.safetensors");
  const core::SafetensorsFile optimizer(at("out") / "step-20" / "optimizer.safetensors");
  for (const core::ParameterSpec& parameter : manifest.parameters()) {
    const bool trained = train::trains(GetParam(), parameter.role);
    const bool by_load =
        parameter.role == core::ParameterRole::kRouterBias && GetParam() == Stage::kPretrain;
    EXPECT_EQ(changed(before, after, parameter.name), trained || by_load) << parameter.name;
    EXPECT_EQ(optimizer.contains(parameter.name + ".exp_avg"), trained) << parameter.name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, EveryStage,
                         testing::Values(Stage::kDenseWarmup, Stage::kSparse,
                                         Stage::kFrozenIndexerSft, Stage::kIndexerOnly,
                                         Stage::kJoint, Stage::kPretrain));

constexpr const char* kBfloat16Run =
    "--stage joint --kl-detach none --dtype bfloat16 --batch 1 --accumulate 2 --schedule cosine "
    "--schedule-steps 6 --warmup 2 --bias-update-rate 0.01 --clip-scope group ";

TEST_F(Train, ResumedRunsAreTheSameBytes) {
  ASSERT_EQ(run("whole", std::string(kBfloat16Run) + "--steps 6").exit_code, 0);
  ASSERT_EQ(run("first", std::string(kBfloat16Run) + "--steps 3").exit_code, 0);
  const std::string resume = kBfloat16Run + ("--steps 6 --resume " + quoted(at("first")));
  const Finished second = run("second", resume);
  ASSERT_EQ(second.exit_code, 0) << second.err;
  same_files(at("whole") / "step-6", at("second") / "step-6");
  EXPECT_TRUE(core::SafetensorsFile(at("whole") / "step-6" / "optimizer.safetensors")
                  .contains("lm_head.weight.exp_avg"));
  EXPECT_TRUE(core::SafetensorsFile(at("whole") / "step-6" / "optimizer.safetensors")
                  .contains("model.embed_tokens.weight.master"));

  // In the same folder, after a kill in the middle of a save and of a line of metrics.
  fs::create_directory(at("first") / "step-6.tmp");
  std::ofstream(at("first") / "step-6.tmp" / "model.safetensors") << "half a file";
  std::ofstream(at("first") / "metrics.jsonl", std::ios::app)
      << "{\"step\": 4, \"loss\": 1.0}\n{\"step\": 5, \"lo";
  const Finished third = run("first", resume);
  ASSERT_EQ(third.exit_code, 0) << third.err;
  same_files(at("whole") / "step-6", at("first") / "step-6");
  EXPECT_FALSE(fs::exists(at("first") / "step-6.tmp"));
  const std::vector<nlohmann::json> whole = lines_of(at("whole") / "metrics.jsonl");
  const std::vector<nlohmann::json> resumed = lines_of(at("first") / "metrics.jsonl");
  ASSERT_EQ(resumed.size(), whole.size());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(resumed[i].at("loss_hex"), whole[i].at("loss_hex"));
    EXPECT_EQ(resumed[i].at("lr_model_hex"), whole[i].at("lr_model_hex"));
  }
}

TEST_F(Train, AKilledRunGoesOnFromItsLastWholeCheckpoint) {
  const std::string options = "--stage sparse --batch 2 --steps 16 --save-every 1";
  ASSERT_EQ(run("whole", options).exit_code, 0);
  const std::string out = quoted(at("killed"));
  const std::string script =
      sparity_line(line(options)) + " --out " + out + " >/dev/null 2>&1 & pid=$!; while [ ! -d " +
      out + "/step-3 ] && kill -0 $pid; do sleep 0.01; done; kill -9 $pid; wait $pid";
  ASSERT_NE(std::system(script.c_str()), 0);
  const Finished resumed = run("killed", options + " --resume " + out);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  same_files(at("whole") / "step-16", at("killed") / "step-16");
}

TEST_F(Train, ARunKilledBeforeItsFirstCheckpointStartsOver) {
  const std::string options = "--stage sparse --batch 2 --steps 3";
  ASSERT_EQ(run("whole", options).exit_code, 0);
  fs::create_directories(at("killed") / "step-2.tmp");
  std::ofstream(at("killed") / "step-2.tmp" / "model.safetensors") << "half a file";
  const std::string metrics = "{\"step\": 1, \"loss\": 1.0}\n{\"step\": 2, \"lo";
  std::ofstream(at("killed") / "metrics.jsonl") << metrics;

  // Nothing is written over unless --resume says so, of this very folder, which holds no more.
  const std::string resume = " --resume " + quoted(at("killed"));
  EXPECT_EQ(run("killed", options).exit_code, 5);
  refused(options + resume, "expected a folder step-N");
  std::ofstream(at("killed") / "notes.txt") << "mine";
  EXPECT_EQ(run("killed", options + resume).exit_code, 5);
  fs::remove(at("killed") / "notes.txt");
  const Finished homeless = run_sparity("train --data " + quoted(data()) + " --out " +
                                        quoted(at("killed")) + " --stage sparse" + resume);
  EXPECT_EQ(homeless.exit_code, 5);
  EXPECT_THAT(homeless.err, HasSubstr("--model: expected a checkpoint folder to start from"));
  EXPECT_EQ(content_of(at("killed") / "metrics.jsonl"), metrics);

  const Finished again = run("killed", options + resume);
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("no checkpoint yet: the run starts from its beginning"));
  same_files(at("whole") / "step-3", at("killed") / "step-3");
  EXPECT_EQ(lines_of(at("killed") / "metrics.jsonl").size(), 3U);
}

TEST_F(Train, ResumingRefusesAnotherRun) {
  const std::string options = "--stage sparse --batch 2 --save-every 1 ";
  ASSERT_EQ(run("out", options + "--steps 2").exit_code, 0);
  const std::string resume = options + "--steps 3 --resume " + quoted(at("out"));
  refused(resume + " --lr 0.5", "/options/lr: expected 0.001 again, found 0.5");
  refused(options + "--steps 2 --resume " + quoted(at("out")),
          "/step: expected fewer than --steps 2, found 2");
  // kl_detach is an option of one of the two stages alone, and stands before "stage".
  refused("--stage joint --steps 3 --resume " + quoted(at("out")),
          R"(/options/stage: expected "sparse" again, found "joint")");
  refused(options + "--resume " + quoted(model()), "expected a folder step-N");
  const Finished late = run("out", options + "--steps 3 --resume " + quoted(at("out") / "step-1"));
  EXPECT_EQ(late.exit_code, 5);
  EXPECT_THAT(late.err, HasSubstr("expected no checkpoint later than step-1"));
  EXPECT_EQ(run("out", options + "--steps 2").exit_code, 5);  // not empty, not resumed
  std::ofstream(data(), std::ios::app) << "{\"input_ids\": [1, 2]}\n";
  refused(resume, "/data_sha256: expected the token file of the run");
}

TEST_F(Train, BadInputIsNamed) {
  refused("", "--stage: expected one of dense-warmup, sparse");
  refused("--stage nonsense", "sparity: --stage: expected one of dense-warmup, sparse");
  refused("--stage dual-lora", "expected two adapters");
  refused("--stage sparse --steps 0", "sparity: --steps: expected an integer from 1");
  refused("--stage sparse --steps 99999999999999999999", "found \"99999999999999999999\"");
  refused("--stage sparse --steps 1e3", "--steps: expected an integer from 1");
  refused("--stage sparse --lr nan",
          "sparity: --lr: expected a number from 0 to 1e+38, found \"nan\"");
  refused("--stage sparse --lr inf", "--lr: expected a number from 0 to 1e+38, found \"inf\"");
  refused("--stage sparse --lr 1e-3x", "found \"1e-3x\"");
  refused("--stage sparse --clip nan", "--clip: expected a number from 0 to 1e+38, found \"nan\"");
  refused("--stage sparse --indexer-lr -1", "--indexer-lr: expected a number from 0 to 1e+38");
  refused("--stage sparse --kl-detach none",
          "sparity: --kl-detach: expected no such option but in stage");
  refused("--stage sparse --dtype bfloat16 --recipe hf", "recipe:");
  refused("--stage sparse --schedule cosine --steps 5 --warmup 6", "warmup: expected at most");
  refused("--stage sparse --max-tokens 20",
          "line 2: 'input_ids': expected at most 20 tokens; --max-tokens N allows more, found 22");
  refused("--stage sparse --validate " + quoted(at("absent.jsonl")), "absent.jsonl");
  std::ofstream(at("config.json")) << R"({"stage": "sparse", "learning_rate": 1})";
  refused("--config " + quoted(at("config.json")), "/learning_rate: expected an option");
  std::ofstream(data(), std::ios::app) << "{\"input_ids\": [1, 211]}\n";
  refused("--stage sparse", "line 5: 'input_ids'[1]: expected an id from 0 to 210");
  std::ofstream(data()) << "";
  refused("--stage sparse", "expected at least one row of tokens, found none");
}

TEST_F(Train, AConfigFileIsReadAndFlagsComeAfterIt) {
  std::ofstream(at("config.json"))
      << R"({"stage": "frozen-indexer-sft", "steps": 4, "lr": 0.01, "batch": 2})";
  const Finished done = run("out", "--steps 2 --lr 5e-4 --config " + quoted(at("config.json")));
  ASSERT_EQ(done.exit_code, 0) << done.err;
  EXPECT_THAT(done.out, HasSubstr("stage frozen-indexer-sft: 2 steps"));
  const nlohmann::json record =
      nlohmann::json::parse(content_of(at("out") / "step-2/trainer.json"));
  EXPECT_EQ(record.at("options").at("lr"), 5e-4);
  EXPECT_EQ(record.at("options").at("batch"), 2);
}

TEST_F(Train, DivergenceStopsAndKeepsTheLastCheckpoint) {
  const Finished done =
      run("out", "--stage sparse --batch 4 --steps 9 --lr 1e36 --weight-decay 0 --save-every 1");
  EXPECT_EQ(done.exit_code, 4) << done.out;
  EXPECT_THAT(done.err, HasSubstr("step 2: expected"));
  EXPECT_THAT(done.err, HasSubstr("finite"));
  EXPECT_EQ(run_sparity("inspect " + quoted(at("out") / "step-1")).exit_code, 0);
  EXPECT_FALSE(fs::exists(at("out") / "step-2"));
}

/// Exit code 4 in step 1 with this in the message, and nothing saved.
class Diverges : public Train {
 protected:
  void stops(const std::string& options, const std::string& because) const {
    const Finished done = run("out", options + " --steps 3 --save-every 1");
    EXPECT_EQ(done.exit_code, 4) << options << "\n" << done.out;
    EXPECT_THAT(done.err, HasSubstr("step 1: expected finite numbers after the update, found"));
    EXPECT_THAT(done.err, HasSubstr(because));
    EXPECT_THAT(done.err, HasSubstr("nothing was saved since the last checkpoint"));
    EXPECT_FALSE(fs::exists(at("out") / "step-1"));
    EXPECT_TRUE(lines_of(at("out") / "metrics.jsonl").empty());
    fs::remove_all(at("out"));
  }
};

TEST_F(Diverges, InAParameter) {
  stops("--stage sparse --lr 1e38", "inf at [0, 0] in lm_head.weight");
  // A row of the embedding that no token takes: 0 / (0 + eps).
  stops("--stage frozen-indexer-sft --eps 0", "nan at [");
}

TEST_F(Diverges, InAMoment) {
  // Gradients of 1e30 are finite, their squares are not, and a rate of 0 moves no parameter.
  const auto raised = [](DumpEdit& file) {
    float* gain = file.values<float>("model.norm.weight");
    std::fill_n(gain, file.tensors.at("model.norm.weight").bytes.size() / sizeof(float), 1e25F);
    float* head = file.values<float>("lm_head.weight");
    std::fill_n(head, file.tensors.at("lm_head.weight").bytes.size() / sizeof(float), 0.0F);
  };
  edit(model() / "model.safetensors", model() / "model.safetensors", raised);
  stops("--stage sparse --lr 0 --clip 0", "inf at [0, 0] in lm_head.weight.exp_avg_sq");
}

TEST_F(Train, WeightsThatAreNotFiniteAreRefusedFrozenOnesToo) {
  const std::string name = "model.layers.1.self_attn.indexer.wk.weight";
  const fs::path whole = at("whole.safetensors");
  fs::copy_file(model() / "model.safetensors", whole);
  for (const float wrong :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    const auto spoilt = [&](DumpEdit& file) {
      file.values<float>(name)[file.tensors.at(name).shape[1] + 3] = wrong;
    };
    edit(whole, model() / "model.safetensors", spoilt);
    refused("--stage frozen-indexer-sft", "model.safetensors: '" + name +
                                              "': expected finite numbers to train from, found " +
                                              (wrong < 0 ? "-inf" : "nan") + " at [1, 3]");
  }
}

TEST_F(Train, AWeightThatBfloat16DoesNotHoldIsRefused) {
  const auto raised = [](DumpEdit& file) {
    file.values<float>("model.embed_tokens.weight")[0] = 3.4e38F;  // the largest is 3.39e38
  };
  edit(model() / "model.safetensors", model() / "model.safetensors", raised);
  refused("--stage sparse --dtype bfloat16",
          "'model.embed_tokens.weight': expected numbers that BFloat16 holds, found inf at [0, 0]");
}

TEST_F(Train, AFullDiskLosesNoEarlierCheckpoint) {
  const std::string options = "--stage indexer-only --batch 4 --save-every 1 ";
  ASSERT_EQ(run("out", options + "--steps 1").exit_code, 0);
  // A limit on the size of files is met as a full disk is: write fails. In blocks of 512 bytes.
  const std::string script = "trap '' XFSZ; ulimit -f 64; " + sparity_line(line(options)) +
                             "--steps 2 --resume " + quoted(at("out")) + " --out " +
                             quoted(at("out")) + " 2>" + quoted(at("err"));
  const int status = std::system(script.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 4);
  EXPECT_THAT(content_of(at("err")), HasSubstr("cannot write: File too large"));
  EXPECT_FALSE(fs::exists(at("out") / "step-2"));
  EXPECT_FALSE(fs::exists(at("out") / "step-2.tmp"));
  EXPECT_EQ(run("out", options + "--steps 2 --resume " + quoted(at("out"))).exit_code, 0);
}

}  // namespace
}  // namespace sparity::selftest
