// Performance figures: their files, strictly read, and their page.

#include "reports/html_performance.h"
#include "reports/performance_json.h"
#include "reports/render.h"
#include "reports/schema_check.h"
#include "src/core/error.h"
#include "src/core/strict_json.h"
#include "suites/selftest/reports_sample.h"
#include "suites/selftest/scratch_folder.h"
#include "suites/selftest/sound_page.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace sparity::reports {
namespace {

using nlohmann::json;

BenchRun sample_bench() {
  return {.tool_version = "0.1.0",
          .git_commit = "0123456789ab",
          .cpu_model = "a processor",
          .config = "fork-small",
          .config_hash = "0123456789abcdef",
          .dtype = "float32",
          .attention = "sparse",
          .threads = 2,
          .batch = 1,
          .tokens = 2048,
          .gemm_flops_per_second = 4e11,
          .copy_bytes_per_second = 2e10,
          .forward_seconds = {0.2, 0.125},
          .forward_backward_seconds = {0.5},
          .ops = {{"attention", 0.05, 0.1, 2e9, 4e9, 4e7, 8e7},
                  {"norms", 0.01, 0.02, 0, 0, 1e8, 2e8},
                  {"other", 0.001, 0, 0, 0, 0, 0}},
          .memory = {{"load", 1 << 20, 2 << 20}, {"backward", 3 << 20, 8 << 20}}};
}

/// As against_transformers.py writes it.
json sample_comparison_file() {
  const json theirs = {{"seconds", 1.0}, {"bytes", 4000}};
  const json pass = {{"pass", "forward"},
                     {"tokens", 2048},
                     {"ours", {{"seconds", 0.5}, {"bytes", 1000}}},
                     {"plain", theirs},
                     {"tuned", {{"seconds", 0.75}, {"bytes", 3000}}},
                     {"target_plain", 1.5},
                     {"target_tuned", 2.5},
                     {"target_memory", nullptr},
                     {"gemm_flops_per_second", 3e11}};
  json long_pass = pass;
  long_pass["tokens"] = 8192;
  long_pass["plain"] = long_pass["tuned"] = nullptr;
  return {{"kind", kAgainstTransformersKind}, {"schema_version", kAgainstTransformersSchemaVersion},
          {"cpu_model", "a processor"},       {"transformers", "5.23.0"},
          {"config", "fork-small"},           {"threads", 2},
          {"passes", {pass, long_pass}}};
}

Performance read(const std::vector<json>& documents) {
  Performance performance;
  for (const json& document : documents) {
    add_performance(document, "figures.json", performance);
  }
  return performance;
}

bool refuses(const json& document) {
  try {
    read({document});
    return false;
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    EXPECT_EQ(std::string(error.what()).rfind("figures.json: /", 0), 0U) << error.what();
    return true;
  }
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

const json& schema() {
  static const json kSchema = core::read_json(
      std::filesystem::path(SPARITY_SOURCE_DIR) / "reports/schema/performance-1.1.schema.json",
      {.max_depth = 16});
  return kSchema;
}

bool valid(const json& document) { return schema_violations(schema(), document).empty(); }

TEST(Performance, FilesMeetTheSchemaAndReadBack) {
  const json bench = to_json(sample_bench());
  EXPECT_TRUE(valid(bench));
  EXPECT_TRUE(valid(sample_comparison_file()));
  EXPECT_EQ(to_json(*read({bench}).bench).dump(), bench.dump());
  const AgainstTransformers comparison = *read({sample_comparison_file()}).against_transformers;
  ASSERT_EQ(comparison.passes.size(), 2U);
  EXPECT_EQ(comparison.passes[0].tuned->bytes, 3000);
  EXPECT_FALSE(comparison.passes[1].plain.has_value());
}

TEST(Performance, EveryMissingUnknownOrWrongMemberIsRefused) {
  for (const json& good : {to_json(sample_bench()), sample_comparison_file()}) {
    std::vector<json::json_pointer> places;
    const json flat = good.flatten();
    for (const auto& [pointer, value] : flat.items()) {
      places.emplace_back(pointer);
    }
    EXPECT_FALSE(refuses(good));
    for (const json::json_pointer& place : places) {
      json mutated = good;
      mutated.at(place) = json::array({json::object()});
      EXPECT_TRUE(refuses(mutated)) << place.to_string();
      EXPECT_FALSE(valid(mutated)) << place.to_string();
      json& parent = mutated.at(place.parent_pointer());
      if (parent.is_object()) {
        parent.erase(place.back());
        EXPECT_TRUE(refuses(mutated)) << place.to_string();
        EXPECT_FALSE(valid(mutated)) << place.to_string();
        json surprised = good;
        surprised.at(place.parent_pointer())["surprise"] = 1;
        EXPECT_TRUE(refuses(surprised)) << place.to_string();
        EXPECT_FALSE(valid(surprised)) << place.to_string();
      }
    }
  }
}

TEST(Performance, NegativeFiguresOtherKindsAndTwoOfAKindAreRefused) {
  json bench = to_json(sample_bench());
  bench["forward_seconds"][0] = -1;
  EXPECT_TRUE(refuses(bench));
  bench = to_json(sample_bench());
  bench["forward_seconds"] = bench["forward_backward_seconds"] = json::array();
  EXPECT_TRUE(refuses(bench));
  bench = to_json(sample_bench());
  bench["kind"] = "something else";
  EXPECT_TRUE(refuses(bench));
  EXPECT_THROW(read({to_json(sample_bench()), to_json(sample_bench())}), core::Error);
}

TEST(Performance, RatiosAreTheirsOverOursAndMemoryTheSmallerOfTheirs) {
  const Performance performance = read({sample_comparison_file()});
  const Ratios ratios = ratios_of(performance.against_transformers->passes[0]);
  EXPECT_DOUBLE_EQ(*ratios.plain, 2.0);
  EXPECT_DOUBLE_EQ(*ratios.tuned, 1.5);
  EXPECT_DOUBLE_EQ(*ratios.memory, 3.0);
  EXPECT_FALSE(ratios_of(performance.against_transformers->passes[1]).plain.has_value());
}

TEST(Performance, RooflineIsTheLongerOfProductsAndMovingEachWayForItself) {
  const BenchRun bench = sample_bench();  // 400 GF/s, 20 GB/s
  const Roofline products = roofline_of(bench.ops[0], bench);
  EXPECT_DOUBLE_EQ(products.seconds, 0.005 + 0.01);
  EXPECT_TRUE(products.by_products);
  const Roofline moving = roofline_of(bench.ops[1], bench);
  EXPECT_DOUBLE_EQ(moving.seconds, 0.005 + 0.01);
  EXPECT_FALSE(moving.by_products);
  const OpTime mixed{"mixed", 1, 1, 4e9, 4e9, 1e8, 1e9};  // 10 or 5 ms forward, 10 or 50 ms back
  EXPECT_DOUBLE_EQ(roofline_of(mixed, bench).seconds, 0.01 + 0.05);
  EXPECT_FALSE(roofline_of(mixed, bench).by_products);
  EXPECT_EQ(roofline_of(bench.ops[2], bench).seconds, 0);
}

TEST(Performance, PageShowsWhatWasMeasuredAndWhichTargetsAreMissed) {
  const selftest::Markup markup = selftest::expect_sound(
      performance_page(read({to_json(sample_bench()), sample_comparison_file()})));
  for (const char* part : {"A forward pass takes 125 ms", "with its backward 500 ms", "2.0× meets",
                           "1.5× misses", "not run", "whole pass", "attention", "83 %", "10.0 %",
                           "50 %", "8.0 MiB", "400 GF/s", "20.0 GB/s", "300.0 MB"}) {
    EXPECT_TRUE(contains(markup.text, part)) << part;
  }
  EXPECT_TRUE(markup.fragments.contains("top"));
}

TEST(Performance, PageWithOneKindOfFiguresHasNoSectionForTheOther) {
  BenchRun plain = sample_bench();
  plain.ops.clear();
  plain.memory.clear();
  const std::string bench = performance_page({plain, {}});
  EXPECT_FALSE(contains(bench, "Beside transformers"));
  EXPECT_FALSE(contains(bench, "Seconds by operation"));
  const std::string comparison = performance_page(read({sample_comparison_file()}));
  EXPECT_FALSE(contains(comparison, "Whole passes"));
  for (const std::string& page : {bench, comparison}) {
    selftest::expect_sound(page);
  }
}

TEST(Performance, HostileNamesAndDegenerateFiguresComeOutHarmless) {
  BenchRun bench = sample_bench();
  bench.config = bench.cpu_model = bench.git_commit = selftest::hostile_name();
  bench.ops = {{selftest::hostile_name(), 0, 0, 1e300, 0}, {"x", 5e-324, 0, 5e-324, 0}};
  bench.memory = {{selftest::hostile_name(), 0, 0}};
  bench.forward_seconds = {0};
  bench.gemm_flops_per_second = 0;
  const std::string page = performance_page({bench, {}});
  selftest::expect_sound(page);
  EXPECT_FALSE(contains(page, "alert('1')"));
  for (const char* broken : {"\"nan", "\"inf", "width=\"-"}) {
    EXPECT_FALSE(contains(page, broken)) << broken;
  }
}

TEST(Performance, IsRenderedBesideTheFirstFile) {
  const selftest::ScratchFolder folder;
  std::ofstream(folder.path() / "bench.json") << to_json(sample_bench()).dump();
  std::ofstream(folder.path() / "theirs.json") << sample_comparison_file().dump();
  const std::filesystem::path page =
      render_performance({folder.path() / "bench.json", folder.path() / "theirs.json"});
  EXPECT_EQ(page, folder.path() / "performance.html");
  EXPECT_GT(std::filesystem::file_size(page), 1000U);
}

}  // namespace
}  // namespace sparity::reports
