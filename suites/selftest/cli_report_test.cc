// `sparity report diff` as a user and a pipeline meet it.

#include "reports/report_json.h"
#include "suites/selftest/program.h"
#include "suites/selftest/reports_sample.h"
#include "suites/selftest/scratch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <string>

namespace sparity::selftest {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class CliReportDiff : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(at("a"));
    fs::create_directories(at("b"));
    reports::write_report(passing_report(), at("a/report.json"));
    reports::write_report(failing_report(), at("b/report.json"));
  }
  fs::path at(const std::string& name) const { return folder_.path() / name; }
  Finished diff(const std::string& before, const std::string& after,
                const std::string& flags = "") const {
    return run_sparity("report diff '" + at(before).string() + "' '" + at(after).string() + "' " +
                       flags);
  }
  std::string flag(const std::string& name, const std::string& file) const {
    return name + " '" + at(file).string() + "' ";
  }

 private:
  ScratchFolder folder_;
};

TEST_F(CliReportDiff, ExitCodeSaysWhetherAVerdictGotWorse) {
  const Finished same = diff("a", "a/report.json");
  EXPECT_EQ(same.exit_code, 0) << same.err;
  EXPECT_THAT(same.out, HasSubstr("Nothing changed"));
  const Finished worse = diff("a", "b");
  EXPECT_EQ(worse.exit_code, 1) << worse.err;
  EXPECT_THAT(worse.out, HasSubstr("**worse**"));
  EXPECT_EQ(diff("b", "a").exit_code, 0);
}

TEST_F(CliReportDiff, WritesPageAndMarkdownAndPrintsJson) {
  const Finished done =
      diff("a", "b", flag("--out", "d.html") + flag("--markdown", "d.md") + "--json");
  EXPECT_EQ(done.exit_code, 1) << done.err;
  EXPECT_TRUE(nlohmann::json::parse(done.out).at("got_worse").get<bool>());
  EXPECT_TRUE(fs::exists(at("d.html")));
  EXPECT_TRUE(fs::exists(at("d.md")));
  EXPECT_EQ(diff("a", "b", flag("--markdown", "e.md")).out, "");
}

TEST_F(CliReportDiff, BadInputIsExitFiveAndLeavesNothing) {
  std::ofstream(at("torn.json")) << "{\"schema_version\": ";
  for (const Finished& refused :
       {diff("a", "nowhere"), diff("torn.json", "b"), diff("a", "b", flag("--out", "b")),
        diff("a", "b", flag("--out", "b/report.json")),
        diff("a", "b", flag("--markdown", "a/report.json")),
        diff("a", "torn.json", flag("--out", "d.html")),
        diff("a", "b", flag("--out", "d.html") + flag("--markdown", "d.html"))}) {
    EXPECT_EQ(refused.exit_code, 5) << refused.err;
    EXPECT_EQ(refused.out, "");
    EXPECT_FALSE(fs::exists(at("d.html")));
  }
  EXPECT_EQ(diff("a", "b").exit_code, 1);  // both still are what they were
}

}  // namespace
}  // namespace sparity::selftest
