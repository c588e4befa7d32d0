// What the program refuses, and that nothing of the user's is lost by it.

#include "src/core/file_io.h"
#include "src/core/safetensors.h"
#include "suites/selftest/dump_edit.h"
#include "suites/selftest/program.h"
#include "suites/selftest/scratch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/wait.h>
#include <vector>

namespace sparity::selftest {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// A copy of a small checkpoint and its inputs.
class Refusal : public testing::Test {
 protected:
  Refusal() {
    fs::create_directory(model());
    for (const char* name : {"config.json", "model.safetensors", "inputs.safetensors"}) {
      fs::copy_file(kGolden / name, model() / name);
    }
    fs::rename(model() / "inputs.safetensors", inputs());
  }

  fs::path at(const std::string& name) const { return folder_.path() / name; }
  fs::path model() const { return at("m"); }
  fs::path inputs() const { return at("in.safetensors"); }
  std::string source() const {
    return " --model " + quoted(model()) + " --inputs " + quoted(inputs());
  }
  std::string run_line(const fs::path& out, const std::string& more = "") const {
    return "run" + source() + " --out " + quoted(out) + " " + more;
  }

  static void expect_refused(const std::string& line, const std::vector<std::string>& words) {
    const Finished done = run_sparity(line);
    EXPECT_EQ(done.exit_code, 5) << line << "\n" << done.out << done.err;
    for (const std::string& word : words) {
      EXPECT_THAT(done.err, HasSubstr(word)) << line;
    }
  }

  ScratchFolder folder_;
};

TEST_F(Refusal, RunNeverWritesOverWhatItReads) {
  fs::create_symlink(inputs(), at("link.safetensors"));
  fs::create_hard_link(model() / "model.safetensors", at("hard.safetensors"));
  fs::create_directory_symlink(model(), at("alias"));
  const std::string before = core::sha256_of_file(inputs());
  const std::string weights = core::sha256_of_file(model() / "model.safetensors");
  for (const fs::path& out : {inputs(), at("link.safetensors"), at("m/../in.safetensors"),
                              at("hard.safetensors"), at("alias/model.safetensors"),
                              at("alias/config.json"), model() / "model.safetensors.index.json"}) {
    expect_refused(run_line(out), {"expected an output that overwrites no input"});
  }
  ASSERT_EQ(run_sparity(run_line(at("dump"), "--trace '*topk_indices'")).exit_code, 0);
  expect_refused(run_line(at("dump"), "--force " + quoted(at("dump")) + " --force-names '*.topk*'"),
                 {"(--force)"});
  EXPECT_EQ(core::sha256_of_file(inputs()), before);
  EXPECT_EQ(core::sha256_of_file(model() / "model.safetensors"), weights);
}

TEST_F(Refusal, AReportNeverReplacesWhatItJudges) {
  fs::copy_file(inputs(), at("report.json"));
  const std::string before = core::sha256_of_file(at("report.json"));
  expect_refused("check norm --model " + quoted(model()) + " --inputs " +
                     quoted(at("report.json")) + " --out " + quoted(folder_.path()),
                 {"(--inputs)"});
  expect_refused(
      "compare " + quoted(at("report.json")) + " --truth x --out " + quoted(folder_.path()),
      {"(CANDIDATE)"});
  EXPECT_EQ(core::sha256_of_file(at("report.json")), before);
}

TEST_F(Refusal, AMistakeOfUsageLeavesAnEarlierReportAlone) {
  const fs::path out = at("report");
  fs::create_directory(out);
  for (const char* name : {"report.json", "results.jsonl"}) {
    std::ofstream(out / name) << "precious";
  }
  const std::string line = "check --out " + quoted(out);
  expect_refused(line + " norm --fault F999", {"--fault", "'F999'"});
  expect_refused(line + " norm --recipe hf", {"--recipe", "bfloat16"});
  expect_refused(line + " norm norm", {"SUITE", "norm twice"});
  expect_refused(line + " norm --dtype float32 --dtype float32", {"--dtype", "twice"});
  edit(model() / "model.safetensors", model() / "model.safetensors", [](DumpEdit& weights) {
    weights.tensors.at("model.norm.weight").dtype = core::Dtype::kI32;
  });
  expect_refused(line + " norm" + source(), {"model.norm.weight", "I32"});
  expect_refused("inspect " + quoted(model()), {});
  EXPECT_THAT(run_sparity("inspect " + quoted(model())).out,
              HasSubstr("model.norm.weight: expected F32, BF16, F16 or F64, found I32"));
  for (const char* name : {"report.json", "results.jsonl"}) {
    EXPECT_EQ(core::read_text_file(out / name, 100), "precious") << name;
  }
}

TEST_F(Refusal, ForcedChoicesNameEveryIndexOnceAndInRange) {
  const fs::path dump = at("dump.safetensors");
  ASSERT_EQ(run_sparity(run_line(dump, "--trace '*topk_indices'")).exit_code, 0);
  const fs::path forced = at("forced.safetensors");
  const auto refused = [&](const std::string& name, std::int64_t place, std::int64_t value,
                           const std::string& found) {
    edit(dump, forced, [&](DumpEdit& file) { file.values<std::int64_t>(name)[place] = value; });
    for (const char* impl : {"src", "reference"}) {
      expect_refused(run_line(at("out"), std::string("--force-names '*topk*' --impl ") + impl +
                                             " --force " + quoted(forced)),
                     {forced.string(), "tensor '" + name + "'[0, ", found});
      EXPECT_FALSE(fs::exists(at("out")));
    }
  };
  const DumpEdit file(dump);
  const std::string keys = "trace.layers.0.self_attn.indexer.topk_indices";
  const std::string experts = "trace.layers.1.mlp.gate.topk_indices";
  const std::int64_t k = file.tensors.at(keys).shape[2];
  const auto* first_key =
      reinterpret_cast<const std::int64_t*>(file.tensors.at(keys).bytes.data()) + 20 * k;
  refused(keys, 20 * k + 1, first_key[0], "no index twice, found");
  refused(keys, 20 * k, 41, "indices from -1 to 40, found 41");
  const auto* first_expert =
      reinterpret_cast<const std::int64_t*>(file.tensors.at(experts).bytes.data());
  refused(experts, 1, first_expert[0], "no index twice, found");
  refused(experts, 0, -1, "indices from 0 to 7, found -1");
}

TEST_F(Refusal, AForcedTensorOfAnotherShapeNamesItsFile) {
  const fs::path dump = at("dump.safetensors");
  ASSERT_EQ(run_sparity(run_line(dump, "--trace norm")).exit_code, 0);
  edit(dump, dump, [](DumpEdit& file) {
    std::swap(file.tensors.at("trace.norm").shape[0], file.tensors.at("trace.norm").shape[1]);
  });
  expect_refused(run_line(at("out"), "--force " + quoted(dump) + " --force-names 'trace.*'"),
                 {dump.string(), "'norm'", "expected shape"});
}

TEST_F(Refusal, LabelsThatCountForNothingNameTheirFile) {
  edit(inputs(), inputs(),
       [](DumpEdit& file) { std::fill_n(file.values<std::int64_t>("labels"), 3 * 41, -100); });
  expect_refused(run_line(at("out")), {inputs().string(), "'labels'"});
  expect_refused("check norm --dtype float32" + source() + " --out " + quoted(at("report")),
                 {inputs().string(), "'labels'"});
  EXPECT_FALSE(fs::exists(at("report")));
}

TEST_F(Refusal, SeedsAndPathsAreTakenLiterally) {
  for (const char* seed : {"-1", "18446744073709551616", "1.5", "0x10", "''"}) {
    expect_refused(std::string("init --seed ") + seed + " --out " + quoted(at("new")), {"--seed"});
  }
  EXPECT_FALSE(fs::exists(at("new")));
  expect_refused(run_line(""), {"--out"});
  expect_refused("init --out ''", {"--out"});
  expect_refused("check norm --out ''", {"--out"});
  expect_refused("check norm --model ''", {"--model"});
  expect_refused("compare x --truth y --out ''", {"--out"});
  expect_refused("init --out " + quoted(inputs()), {"--out"});
  expect_refused("init --max-shard-gb nan --out " + quoted(at("new")), {"--max-shard-gb"});
  expect_refused("compare x --truth y --out " + quoted(inputs()), {"--out: expected a folder"});
}

TEST_F(Refusal, AnEndlessTopKIsRefusedWithFiguresOrCapped) {
  const auto with = [&](const std::string& field, const std::string& value) {
    std::string text = core::read_text_file(model() / "config.json", 1 << 20);
    const std::size_t begin = text.find('"' + field + '"');
    ASSERT_NE(begin, std::string::npos);
    const std::size_t colon = text.find(':', begin);
    text.replace(colon + 1, text.find_first_of(",\n", colon) - colon - 1, " " + value);
    core::write_file_atomically(model() / "config.json", text);
  };
  with("index_topk", "2147483647");
  const std::string line =
      "check norm --dtype float32 --model " + quoted(model()) + " --out " + quoted(at("report"));
  EXPECT_EQ(run_sparity(line).exit_code, 0);  // as many tokens as there are positions
  with("max_position_embeddings", "2147483647");
  expect_refused(line, {"GiB"});
}

TEST_F(Refusal, AQuantisedCheckpointIsShownAndNotRun) {
  std::string text = core::read_text_file(model() / "config.json", 1 << 20);
  text.insert(text.find('{') + 1, R"("quantization_config": {"quant_method": "fp8"},)");
  core::write_file_atomically(model() / "config.json", text);
  const Finished shown = run_sparity("inspect " + quoted(model()));
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr(R"(quantised by "fp8": recognised, and not supported yet)"));
  expect_refused(run_line(at("out")), {"/quantization_config"});
  expect_refused("check norm" + source() + " --out " + quoted(at("report")),
                 {"/quantization_config"});
}

/// The limit is in blocks of 512 bytes.
TEST_F(Refusal, AFileSizeLimitIsNoCrashAndLeavesNoFile) {
  fs::create_directory(at("out"));
  const std::string line =
      "ulimit -f 4; exec " + sparity_line(run_line(at("out/dump"))) + " 2>" + quoted(at("err"));
  const int status = std::system(line.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 4);
  EXPECT_THAT(core::read_text_file(at("err"), 1 << 20), HasSubstr("dump: cannot write"));
  EXPECT_TRUE(fs::is_empty(at("out")));
}

}  // namespace
}  // namespace sparity::selftest
