// `sparity bench` as a user meets it, and the counts that are committed.

#include "suites/selftest/program.h"
#include "suites/selftest/scratch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

namespace sparity::selftest {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

const fs::path kCommitted = fs::path(SPARITY_SOURCE_DIR) / "reports/baselines/counters.json";

TEST(CliBench, TimesPassesAndSaysWhereTimeAndMemoryGo) {
  const ScratchFolder folder;
  const Finished bench = run_sparity(
      "bench --config tiny --tokens 40 --repeat 2 --threads 1 --backward --profile "
      "--json --out " +
      quoted(folder.path() / "bench"));
  ASSERT_EQ(bench.exit_code, 0) << bench.err;
  const json run = json::parse(bench.out);
  EXPECT_EQ(run.at("forward_seconds").size(), 2U);
  EXPECT_EQ(run.at("forward_backward_seconds").size(), 2U);
  EXPECT_EQ(run.at("tokens"), 40);
  std::set<std::string> trained;
  double forward = 0;
  for (const json& op : run.at("ops")) {
    forward += op.at("forward_seconds").get<double>();
    if (op.at("backward_seconds").get<double>() > 0) {
      trained.insert(op.at("op").get<std::string>());
    }
  }
  EXPECT_GT(forward, 0);
  for (const char* op :
       {"embedding", "norms", "attention projections", "rope", "attention", "router",
        "routed experts", "shared experts", "dense MLP", "head", "loss", "gradient sums"}) {
    EXPECT_TRUE(trained.contains(op)) << op << " has no time on the way back";
  }
  for (const char* op : {"indexer projections", "index scores and top-k"}) {
    EXPECT_FALSE(trained.contains(op)) << op << " has no way back";
  }
  // tiny: a row of 40 tokens and one of 28, hidden_size 72, a vocabulary of 211; four bytes each.
  const auto head = std::ranges::find(
      run.at("ops"), "head", [](const json& op) { return op.at("op").get<std::string>(); });
  ASSERT_NE(head, run.at("ops").end());
  EXPECT_EQ(head->at("forward_flops"), 2.0 * 68 * 72 * 211);
  EXPECT_EQ(head->at("backward_flops"), 4.0 * 68 * 72 * 211);
  EXPECT_EQ(head->at("forward_bytes"), 4.0 * (68 * 72 + 72 * 211 + 68 * 211));
  EXPECT_EQ(head->at("backward_bytes"), 4.0 * (2 * 68 * 72 + 2 * 72 * 211 + 68 * 211));
  for (const json& op : run.at("ops")) {
    const bool works = op.at("op") != "other" && op.at("op") != "gradient sums";
    EXPECT_EQ(op.at("forward_bytes").get<double>() > 0, works) << op.at("op");
  }
  ASSERT_EQ(run.at("memory").size(), 4U);
  EXPECT_GT(run.at("memory")[2].at("live_bytes"), run.at("memory")[1].at("live_bytes"));
  EXPECT_TRUE(fs::exists(folder.path() / "bench/performance.html"));
  const Finished rendered =
      run_sparity("report render " + quoted(folder.path() / "bench/bench.json"));
  EXPECT_EQ(rendered.exit_code, 0) << rendered.err;
  EXPECT_THAT(rendered.out, HasSubstr("performance.html"));
}

TEST(CliBench, RefusesWhatItCannotTime) {
  EXPECT_EQ(run_sparity("bench --config nonsense").exit_code, 5);
  EXPECT_EQ(run_sparity("bench --config tiny --tokens 1").exit_code, 5);
  EXPECT_EQ(run_sparity("bench --config tiny --repeat 0").exit_code, 5);
  EXPECT_EQ(run_sparity("bench --config tiny --tokens 9 --inputs x.safetensors").exit_code, 5);
  EXPECT_EQ(run_sparity("bench --against x.json").exit_code, 5);
}

TEST(CliBench, CountsThatMovedByMoreThanOnePercentAreExitTwo) {
  const ScratchFolder folder;
  json moved = json::parse(std::ifstream(kCommitted));
  json& pass = moved.at("passes").at(1);
  pass["peak_bytes"] = pass.at("peak_bytes").get<std::int64_t>() * 103 / 100;
  moved.at("passes").erase(0);
  const fs::path file = folder.path() / "moved.json";
  std::ofstream(file) << moved.dump();
  const Finished counted = run_sparity("bench --counters --against " + quoted(file));
  EXPECT_EQ(counted.exit_code, 2) << counted.err;
  EXPECT_THAT(counted.err, HasSubstr("tiny, 53 tokens, float32, forward and backward: peak_bytes"));
  EXPECT_THAT(counted.err, HasSubstr("tiny, 53 tokens, float32, forward: no committed counts"));
  EXPECT_THAT(counted.err, HasSubstr("sparity bench --counters > "));
  EXPECT_THAT(counted.err, testing::Not(HasSubstr("fork-small")));
}

TEST(CliBench, ForgedCountsAreBadInput) {
  const ScratchFolder folder;
  const fs::path file = folder.path() / "forged.json";
  const json good = json::parse(std::ifstream(kCommitted));
  for (const char* member : {"config", "tokens", "dtype", "pass", "bytes", "gemm_flops"}) {
    json bad = good;
    bad["passes"][0][member] = nullptr;
    std::ofstream(file) << bad.dump();
    EXPECT_EQ(run_sparity("bench --counters --against " + quoted(file)).exit_code, 5) << member;
  }
}

}  // namespace
}  // namespace sparity::selftest
