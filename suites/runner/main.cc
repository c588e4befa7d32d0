// One suite in one dtype, as a GoogleTest program: every case is a test, every record a journal
// line.

#include "src/core/error.h"
#include "src/core/file_io.h"
#include "suites/cli/options.h"
#include "suites/judge/journal.h"
#include "suites/judge/outcome.h"
#include "suites/judge/start_check.h"
#include "suites/runner/calibrate.h"
#include "suites/runner/kill_check.h"
#include "suites/runner/plantable.h"
#include "suites/runner/suite_list.h"

#include <ATen/Parallel.h>
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fnmatch.h>
#include <memory>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

namespace sparity::runner {

namespace {

using core::ExitCode;

struct Options {
  std::string suite;
  cases::ModelSource source;
  core::Dtype dtype = core::Dtype::kF32;
  core::Recipe recipe = core::Recipe::kOfficial;
  int threads = 0;
  std::string filter = "*";
  std::string journal;
  bool resume = false;
  bool list = false;
  std::string fault;
  bool expect_kills = false;
  std::string kills_out;
  CalibrationPlan calibration;
};

void parse(int argc, char** argv, CLI::App& app, Options& options) {
  app.add_option("--suite", options.suite, "Which suite to run");
  cli::add_source_options(app, options.source);
  cli::add_dtype_option(app, options.dtype);
  cli::add_recipe_option(app, options.recipe);
  cli::add_threads_option(app, options.threads);
  app.add_option("--filter", options.filter, "Only cases whose name this glob matches");
  app.add_option("--journal", options.journal, "Append each case's record to this file");
  app.add_flag("--resume", options.resume, "Skip the cases that the journal already holds");
  app.add_flag("--list", options.list, "Print suites, or the cases of --suite, and stop");
  app.add_option("--fault", options.fault, "Plant this fault of the register (F01, …) first");
  app.add_flag(
      "--expect-kills", options.expect_kills,
      "Plant each fault that this suite must kill; succeed when all are killed and located");
  app.add_option("--kills-out", options.kills_out, "Write what became of each fault, as JSON");
  app.add_option("--calibrate", options.calibration.seeds,
                 "Run N clean seeds and print the largest lhs/rhs of every gate, as JSON");
  app.add_option("--lengths", options.calibration.lengths,
                 "Calibrate on one row of each of these lengths instead of the model's own inputs")
      ->delimiter(',');
  app.add_flag("--one-token", options.calibration.one_token,
               "Calibrate on rows that repeat one token");
  app.parse(argc, argv);
}

const Suite& chosen_suite(const Options& options) {
  const Suite* suite = find_suite(options.suite);
  if (suite == nullptr) {
    std::string names;
    for (const Suite& known : suites()) {
      names += (names.empty() ? "" : ", ") + std::string(known.name);
    }
    SPARITY_FAIL_INPUT(
        fmt::format("--suite: expected one of {}, found '{}'", names, options.suite));
  }
  return *suite;
}

bool chosen(const Options& options, const cases::Case& c) {
  return fnmatch(options.filter.c_str(), c.name.c_str(), 0) == 0;
}

ExitCode list(const Options& options) {
  if (options.suite.empty()) {
    for (const Suite& suite : suites()) {
      fmt::print("{}\n", suite.name);
    }
    return ExitCode::kPass;
  }
  for (const cases::Case& c : chosen_suite(options).cases()) {
    if (chosen(options, c)) {
      fmt::print("{}\n", c.name);
    }
  }
  return ExitCode::kPass;
}

/// Only `norm` does, so that the others show whether they still run.
void misbehave([[maybe_unused]] const std::string& id, [[maybe_unused]] const std::string& suite) {
#ifdef SPARITY_FAULTS
  if (suite != "norm") {
    return;
  }
  if (id == "C9") {
    std::abort();
  }
  for (;;) {
    pause();
  }
#endif
}

void plant(const std::string& id, const std::string& suite) {
  SPARITY_CHECK_INPUT(
      plantable(id),
      fmt::format("--fault: expected an id of this build's register, found '{}'", id));
  if (is_harness_mistake(id)) {
    misbehave(id, suite);
    return;
  }
#ifdef SPARITY_FAULTS
  core::sparity_fault_plant(*core::fault_from_id(id));
#endif
}

cases::SuiteContext make_context(const Options& options) {
  tensors::Checkpoint checkpoint = cases::open_checkpoint(options.source);
  tensors::Inputs inputs = cases::open_inputs(options.source, checkpoint.config);
  cases::SuiteOptions suite_options{
      .dtype = options.dtype,
      .recipe = options.recipe,
      .seed = options.source.seed,
      .config_name = options.source.name(),
      .embedded = options.source.embedded() && options.source.config == "tiny" &&
                  options.source.inputs.empty() && options.calibration.lengths.empty(),
      .own_model = options.source.model.empty(),
      .rerun = fmt::format("sparity-suites --suite {} --dtype {} --recipe {} {}{}", options.suite,
                           core::to_string(options.dtype), core::to_string(options.recipe),
                           options.source.flags(),
                           options.fault.empty() ? "" : " --fault " + options.fault)};
  return cases::SuiteContext(std::move(checkpoint), std::move(inputs), std::move(suite_options));
}

/// Where records go while the tests run.
struct Session {
  const cases::SuiteContext& context;
  std::unique_ptr<judge::JournalWriter> journal;
  std::vector<judge::Verdict> verdicts;
};

/// One case as a test: fails with the record's message and the line that repeats it.
class CaseTest : public testing::Test {
 public:
  CaseTest(cases::Case c, Session& session) : case_(std::move(c)), session_(session) {}

  void TestBody() override {
    const judge::CaseRecord record = cases::run_case(case_, session_.context);
    session_.verdicts.push_back(record.verdict);
    if (session_.journal != nullptr) {
      session_.journal->append(record);
    }
    if (record.verdict == judge::Verdict::kSkip) {
      GTEST_SKIP() << record.message;
    }
    if (record.verdict != judge::Verdict::kPass) {
      ADD_FAILURE() << judge::to_string(record.verdict) << ": " << record.message
                    << "\nrerun: " << record.rerun;
    }
  }

 private:
  cases::Case case_;
  Session& session_;
};

/// Cases of this run that the journal holds already. A record of this suite that no case of this
/// run writes is refused: it would be counted.
std::set<std::string> names_in_journal(const Options& options,
                                       const std::vector<cases::Case>& cases) {
  std::set<std::string> names;
  if (!options.resume || !std::filesystem::exists(options.journal)) {
    return names;
  }
  for (const judge::CaseRecord& record : judge::read_journal(options.journal).records) {
    if (record.suite != options.suite || record.dtype != core::to_string(options.dtype)) {
      continue;
    }
    const auto found = std::ranges::find(cases, record.name, &cases::Case::name);
    SPARITY_CHECK_INPUT(found != cases.end() && chosen(options, *found),
                        fmt::format("{}: expected cases of {} that match '{}', found '{}'; run "
                                    "without --resume to start anew",
                                    options.journal, options.suite, options.filter, record.name));
    names.insert(record.name);
  }
  return names;
}

ExitCode run_suite(const Options& options) {
  const Suite& suite = chosen_suite(options);
  const cases::SuiteContext context = make_context(options);
  const std::vector<cases::Case> all = suite.cases();
  const std::set<std::string> done = names_in_journal(options, all);
  Session session{context, nullptr, {}};
  if (!options.journal.empty()) {
    session.journal = std::make_unique<judge::JournalWriter>(options.journal);
  }
  std::size_t registered = 0;
  for (const cases::Case& c : all) {
    if (!chosen(options, c) || done.contains(c.name)) {
      continue;
    }
    ++registered;
    testing::RegisterTest(c.suite.c_str(), c.name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [c, &session]() -> CaseTest* { return new CaseTest(c, session); });
  }
  if (registered == 0 && !done.empty()) {
    return ExitCode::kPass;  // everything asked for is in the journal, which is what is judged
  }
  SPARITY_CHECK(registered > 0,
                fmt::format("suite {}: no case matches '{}'", suite.name, options.filter));
  const bool tests_failed = RUN_ALL_TESTS() != 0;
  const ExitCode code = judge::exit_code(judge::combine(session.verdicts));
  return tests_failed && code == ExitCode::kPass ? ExitCode::kHarnessFault : code;
}

ExitCode expect_kills(const Options& options) {
  const cases::SuiteContext context = make_context(options);
  const std::vector<Kill> kills = check_kills(chosen_suite(options), context);
  nlohmann::json document = nlohmann::json::array();
  bool all = true;
  for (const Kill& kill : kills) {
    all = all && kill.killed && kill.located;
    fmt::print("{} {:<4} {} {} at '{}' by {} (headroom {:.3g}): {}\n",
               kill.killed && kill.located ? "ok  " : "FAIL", kill.fault.id, kill.dtype,
               !kill.killed ? "SURVIVED" : (kill.located ? "killed" : "killed, not located"),
               kill.tensor, kill.gate, kill.headroom, kill.fault.title);
    document.push_back(to_json(kill));
  }
  if (!options.kills_out.empty()) {
    core::write_file_atomically(options.kills_out, document.dump(2) + "\n");
  }
  return all ? ExitCode::kPass : ExitCode::kHarnessFault;
}

ExitCode dispatch(const Options& options) {
  judge::start_check();
  if (options.threads > 0) {
    at::set_num_threads(options.threads);
  }
  if (options.list) {
    return list(options);
  }
  if (options.expect_kills) {
    return expect_kills(options);
  }
  if (options.calibration.seeds > 0) {
    CalibrationPlan plan = options.calibration;
    plan.filter = options.filter;
    return calibrate(chosen_suite(options), plan, [&](std::uint64_t seed) {
      Options seeded = options;
      seeded.source.seed = seed;
      return make_context(seeded);
    });
  }
  if (!options.fault.empty()) {
    plant(options.fault, options.suite);
  }
  return run_suite(options);
}

}  // namespace

}  // namespace sparity::runner

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a write beyond the limit on file sizes fails with a message
  testing::InitGoogleTest(&argc, argv);
  CLI::App app{"Runs one of Sparity's suites in one dtype.", "sparity-suites"};
  sparity::runner::Options options;
  try {
    sparity::runner::parse(argc, argv, app, options);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(sparity::core::ExitCode::kBadInput);
  }
  try {
    return static_cast<int>(sparity::runner::dispatch(options));
  } catch (const sparity::core::Error& error) {
    fmt::print(stderr, "sparity-suites: {} ({})\n", error.what(), error.where());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "sparity-suites: {}\n", error.what());
    return static_cast<int>(sparity::core::ExitCode::kCrashed);
  }
}
