// Adapters as a user meets them: `train --lora`, `run --adapter`, `convert`, and what can go wrong.

#include "src/core/safetensors.h"
#include "suites/selftest/program.h"
#include "suites/selftest/scratch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace sparity::selftest {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::vector<float> floats_of(const fs::path& path, const std::string& name) {
  const std::vector<std::byte> bytes = core::SafetensorsFile(path).read(name);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// Relative L2 of `logits` in two dumps.
double distance(const fs::path& a, const fs::path& b) {
  const std::vector<float> left = floats_of(a, "logits");
  const std::vector<float> right = floats_of(b, "logits");
  EXPECT_EQ(left.size(), right.size());
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    difference += std::pow(static_cast<double>(left[i]) - right[i], 2);
    size += std::pow(static_cast<double>(right[i]), 2);
  }
  return std::sqrt(difference / size);
}

constexpr const char* kModelAdapter =
    R"({"r": 4, "lora_alpha": 8, "target_modules": ["q_a_proj", "q_b_proj", "kv_b_proj", "o_proj"]})";
constexpr const char* kIndexerAdapter =
    R"({"r": 2, "lora_alpha": 4, "target_modules": ["indexer.wq_b", "indexer.wk"]})";

/// A seeded tiny model, four rows of tokens, and configurations of adapters.
class Lora : public testing::Test {
 protected:
  Lora() {
    EXPECT_EQ(run_sparity("init --config tiny --seed 3 --out " + quoted(at("model"))).exit_code, 0);
    std::ofstream rows(at("data.jsonl"));
    std::vector<std::int64_t> first;
    for (int row = 0; row < 4; ++row) {
      nlohmann::json ids;
      for (int i = 0; i < 24; ++i) {
        ids.push_back((i * i + 31 * row) % 211);
      }
      first = row == 0 ? ids.get<std::vector<std::int64_t>>() : first;
      rows << nlohmann::json{{"input_ids", ids}}.dump() << "\n";
    }
    core::write_safetensors(
        at("in.safetensors"),
        {{"input_ids", core::Dtype::kI64, {1, 24}, std::as_bytes(std::span(first))},
         {"labels", core::Dtype::kI64, {1, 24}, std::as_bytes(std::span(first))}},
        {});
    write("llm.json", kModelAdapter);
    write("indexer.json", kIndexerAdapter);
  }

  fs::path at(const std::string& name) const { return folder_.path() / name; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(at(name)) << text;
  }
  std::string lora(const std::string& name) const {
    return "--lora " + name + "=" + quoted(at(name + ".json")) + " ";
  }
  Finished train(const std::string& out, const std::string& more) const {
    return run_sparity("train --threads 1 --batch 2 --lr 5e-3 --model " + quoted(at("model")) +
                       " --data " + quoted(at("data.jsonl")) + " " + more + " --out " +
                       quoted(at(out)));
  }
  void refused(const std::string& more, const std::string& because) const {
    const Finished done = train("refused", more);
    EXPECT_EQ(done.exit_code, 5) << more;
    EXPECT_THAT(done.err, HasSubstr(because));
    EXPECT_FALSE(fs::exists(at("refused"))) << more;
  }
  Finished pass(const std::string& out, const std::string& model, const std::string& more) const {
    return run_sparity("run --threads 1 --model " + quoted(at(model)) + " --inputs " +
                       quoted(at("in.safetensors")) + " --out " + quoted(at(out)) + " " + more);
  }

 private:
  ScratchFolder folder_;
};

constexpr const char* kDual = "--stage dual-lora --indexer-lr 1e-2 --clip 0.5 ";

TEST_F(Lora, BothAdaptersLearnAndResumeToTheSameBytes) {
  const std::string both = lora("llm") + lora("indexer");
  const Finished whole = train("whole", kDual + both + "--steps 20 --json");
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  const nlohmann::json summary = nlohmann::json::parse(whole.out);
  EXPECT_LT(summary.at("last_loss").get<double>(), 0.9 * summary.at("first_loss").get<double>());
  EXPECT_TRUE(summary.at("without_gradient").empty());
  EXPECT_FALSE(fs::exists(at("whole") / "step-20" / "model.safetensors")) << "the model is frozen";

  ASSERT_EQ(train("half", kDual + both + "--steps 9").exit_code, 0);
  const std::string resume = "--resume " + quoted(at("half"));
  const Finished second = train("half", kDual + ("--steps 20 " + resume));
  ASSERT_EQ(second.exit_code, 0) << second.err;
  for (const char* file :
       {"llm/adapter_model.safetensors", "indexer/adapter_model.safetensors",
        "llm/adapter_config.json", "indexer/adapter_config.json", "optimizer.safetensors"}) {
    EXPECT_TRUE(content_of(at("whole") / "step-20" / file) ==
                content_of(at("half") / "step-20" / file))
        << file;
  }
  EXPECT_THAT(train("half", kDual + ("--steps 30 " + resume + " " + lora("llm"))).err,
              HasSubstr("--lora: expected the run's 2 adapters again"));
  EXPECT_THAT(
      train("half", kDual + ("--steps 30 " + resume + " " + lora("indexer") + lora("llm"))).err,
      HasSubstr("expected 'llm' again"));
  const Finished repeated = train("half", kDual + ("--steps 21 " + resume + " " + both));
  EXPECT_EQ(repeated.exit_code, 0) << repeated.err;
  EXPECT_THAT(pass("never", "model", "--adapter " + quoted(at("half") / "step-21")).err,
              HasSubstr("step-21/llm"));
  EXPECT_EQ(run_sparity("init --config tiny --seed 4 --out " + quoted(at("other"))).exit_code, 0);
  const Finished other =
      run_sparity("train --threads 1 --batch 2 --lr 5e-3 --model " + quoted(at("other")) +
                  " --data " + quoted(at("data.jsonl")) + " " + kDual + "--steps 30 " + resume +
                  " --out " + quoted(at("half")));
  EXPECT_EQ(other.exit_code, 5);
  EXPECT_THAT(other.err, HasSubstr("/frozen_sha256"));
}

TEST_F(Lora, ATrainedAdapterRunsMergesAndComesOut) {
  ASSERT_EQ(train("out", "--stage frozen-indexer-sft --steps 5 --lora " + quoted(at("llm.json")))
                .exit_code,
            0);
  const std::string adapter = "--adapter " + quoted(at("out") / "step-5");
  ASSERT_EQ(pass("bare.safetensors", "model", "").exit_code, 0);
  for (const std::string impl : {"src", "reference"}) {
    const Finished adapted = pass("adapted." + impl, "model", adapter + " --grads --impl " + impl);
    ASSERT_EQ(adapted.exit_code, 0) << adapted.err;
    EXPECT_GT(distance(at("adapted." + impl), at("bare.safetensors")), 1e-3);
    const core::SafetensorsFile dump(at("adapted." + impl));
    EXPECT_TRUE(dump.contains(
        "grad.base_model.model.model.layers.0.self_attn.q_a_proj.lora_A.default.weight"));
    EXPECT_FALSE(dump.contains("grad.model.layers.0.self_attn.q_a_proj.weight"));
  }
  EXPECT_LE(distance(at("adapted.src"), at("adapted.reference")), 2e-5);

  const std::string convert = "convert " + adapter + " --model ";
  ASSERT_EQ(run_sparity(convert + quoted(at("model")) + " --out " + quoted(at("merged"))).exit_code,
            0);
  ASSERT_EQ(pass("merged.safetensors", "merged", "").exit_code, 0);
  EXPECT_LE(distance(at("merged.safetensors"), at("adapted.src")), 2e-5);
  EXPECT_EQ(run_sparity(convert + quoted(at("model")) + " --out " + quoted(at("merged"))).exit_code,
            5)
      << "never over a folder that is there";
  fs::create_directory(at("kept.tmp"));
  EXPECT_EQ(run_sparity(convert + quoted(at("model")) + " --out " + quoted(at("kept"))).exit_code,
            5);
  EXPECT_TRUE(fs::exists(at("kept.tmp"))) << "nor in the place of one beside it";
  ASSERT_EQ(run_sparity(convert + quoted(at("merged")) + " --unmerge --out " + quoted(at("back")))
                .exit_code,
            0);
  ASSERT_EQ(pass("back.safetensors", "back", "").exit_code, 0);
  EXPECT_LE(distance(at("back.safetensors"), at("bare.safetensors")), 2e-5);
}

TEST_F(Lora, DumpsUnderAnotherAdapterAreNotCompared) {
  ASSERT_EQ(train("out", "--stage frozen-indexer-sft --steps 2 --lora " + quoted(at("llm.json")))
                .exit_code,
            0);
  const std::string adapter = " --adapter " + quoted(at("out") / "step-2");
  ASSERT_EQ(pass("candidate", "model", adapter).exit_code, 0);
  ASSERT_EQ(pass("truth", "model", "--impl reference --dtype float64").exit_code, 0);
  const Finished done =
      run_sparity("compare " + quoted(at("candidate")) + " --truth " + quoted(at("truth")));
  EXPECT_EQ(done.exit_code, 5);
  EXPECT_THAT(done.err, HasSubstr("adapters_hash"));
}

TEST_F(Lora, BadInputIsNamed) {
  const auto config = [&](const std::string& text) {
    write("bad.json", text);
    return "--stage sparse --lora " + quoted(at("bad.json"));
  };
  refused(config(R"({"r": 0, "target_modules": ["o_proj"]})"), "/r: expected");
  refused(config(R"({"target_modules": ["indexer.q_b_proj"]})"), "indexer.wq_b");
  refused(config(R"({"target_modules": ["o_proj"], "use_dora": true})"), "use_dora");
  refused(config(R"({"target_modules": ["embed_tokens"]})"), "embed_tokens");
  refused(config(R"({"target_modules": ["kv_b_proj"], "lora_dropout": 0.1})"), "lora_dropout");
  refused("--stage dual-lora " + lora("llm"), "expected two adapters");
  refused("--stage frozen-indexer-sft " + lora("indexer"), "which is not the indexer");
  refused("--stage indexer-only " + lora("llm"), "which is not the model");
  refused("--stage pretrain " + lora("llm"), "pretrain");
  refused("--stage sparse --lora 'a b=" + at("llm.json").string() + "'", "name of letters");
  refused("--stage sparse " + lora("llm") + lora("llm"), "twice");
  refused("--stage joint --indexer-clip 1", "clip_scope group");
  refused("--stage sparse --bias-update-rate 0.1 " + lora("llm"), "bias_update_rate");

  ASSERT_EQ(train("out", "--stage sparse --steps 1 --lora " + quoted(at("llm.json"))).exit_code, 0);
  const fs::path step = at("out") / "step-1";
  nlohmann::json written = nlohmann::json::parse(content_of(step / "adapter_config.json"));
  written["target_modules"].push_back("kv_a_proj_with_mqa");
  std::ofstream(step / "adapter_config.json") << written.dump();
  const Finished missing = pass("never", "model", "--adapter " + quoted(step));
  EXPECT_EQ(missing.exit_code, 5);
  EXPECT_THAT(missing.err, HasSubstr("kv_a_proj_with_mqa.lora_A.weight"));
  EXPECT_FALSE(fs::exists(at("never")));
}

}  // namespace
}  // namespace sparity::selftest
