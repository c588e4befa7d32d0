#include "suites/cli/check_run.h"

#include "reports/assessment.h"
#include "reports/render.h"
#include "reports/report_json.h"
#include "reports/summary.h"
#include "src/core/dtype.h"
#include "src/core/fault.h"
#include "src/core/file_io.h"
#include "src/core/strict_json.h"
#include "suites/cli/overwriting.h"
#include "suites/cli/provenance.h"
#include "suites/cli/resumed_journal.h"
#include "suites/cli/suite_program.h"
#include "suites/cli/supervisor.h"
#include "suites/judge/outcome.h"
#include "suites/runner/plantable.h"
#include "suites/runner/suite_names.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <numeric>
#include <string_view>
#include <unistd.h>

namespace sparity::cli {

namespace {

namespace fs = std::filesystem;

struct Plan {
  std::vector<reports::SuiteId> ids;
  std::vector<Job> jobs;
};

std::vector<std::string> or_default(std::vector<std::string> given,
                                    std::vector<std::string> otherwise) {
  return given.empty() ? std::move(otherwise) : std::move(given);
}

Job job_for(const CheckOptions& options, const reports::SuiteId& id, const fs::path& journal) {
  Job job{fmt::format("{}.{}", id.suite, id.dtype), {}};
  job.arguments = {suite_program().string(),
                   "--suite",
                   id.suite,
                   "--dtype",
                   id.dtype,
                   "--recipe",
                   std::string(core::to_string(options.recipe)),
                   "--seed",
                   std::to_string(options.source.seed),
                   "--filter",
                   options.filter,
                   "--journal",
                   journal.string(),
                   "--resume"};
  const auto add = [&](const std::string& flag, const std::string& value) {
    if (!value.empty()) {
      job.arguments.insert(job.arguments.end(), {flag, value});
    }
  };
  if (options.source.model.empty()) {
    add("--config", options.source.config);
  }
  add("--model", options.source.model);
  add("--inputs", options.source.inputs);
  add("--fault", options.fault);
  if (options.jobs > 1) {
    add("--threads", "1");
  }
  return job;
}

Plan plan_of(const CheckOptions& options, const fs::path& journal) {
  std::vector<std::string> all(runner::kSuiteNames.begin(), runner::kSuiteNames.end());
  Plan plan;
  for (const std::string& suite : or_default(options.suites, std::move(all))) {
    for (const std::string& dtype : or_default(options.dtypes, {"float32", "bfloat16"})) {
      plan.ids.push_back({suite, dtype, options.device});
      plan.jobs.push_back(job_for(options, plan.ids.back(), journal));
    }
  }
  return plan;
}

/// What decides a run: a journal may only be resumed under the same.
nlohmann::json key_of(const reports::Report& report, const CheckOptions& options) {
  return {{"build", report.provenance.git_commit + " " + report.provenance.compiler + " " +
                        report.provenance.build_flags},
          {"program_sha256",
           core::sha256_hex(core::read_text_file(suite_program(), std::uint64_t{1} << 30))},
          {"config_hash", report.provenance.config_hash},
          {"weights_sha256", report.provenance.weights_sha256},
          {"inputs", options.source.inputs},
          {"seed", options.source.seed},
          {"recipe", report.provenance.recipe},
          {"filter", options.filter},
          {"fault", options.fault}};
}

/// Prepares the folder: a fresh journal, or with --resume the one that is there if its key is the
/// same.
void open_folder(const CheckOptions& options, const reports::Report& report,
                 const fs::path& journal) {
  std::error_code failure;
  fs::create_directories(options.out, failure);
  SPARITY_CHECK_INPUT(!failure,
                      fmt::format("--out: cannot create {}: {}", options.out, failure.message()));
  const fs::path key_path = fs::path(options.out) / "run.json";
  const nlohmann::json key = key_of(report, options);
  if (options.resume && fs::exists(journal)) {
    SPARITY_CHECK_INPUT(
        fs::exists(key_path) && core::read_json(key_path) == key,
        fmt::format("--resume: {} was written by another build, model, inputs, seed or "
                    "filter; run without --resume to start anew",
                    journal.string()));
    return;
  }
  for (const char* stale : {"results.jsonl", "report.json", "index.html", "junit.xml"}) {
    fs::remove(fs::path(options.out) / stale);
  }
  core::write_file_atomically(key_path, key.dump(2) + "\n");
}

judge::Verdict verdict_of(const JobOutcome& outcome) {
  using judge::Verdict;
  if (outcome.interrupted) {
    return Verdict::kInconclusive;
  }
  if (outcome.timed_out) {
    return Verdict::kTimeout;
  }
  if (outcome.signal_number != 0) {
    return Verdict::kCrash;
  }
  for (const Verdict verdict : {Verdict::kPass, Verdict::kFail, Verdict::kInconclusive,
                                Verdict::kSkip, Verdict::kCrash, Verdict::kBadInput}) {
    if (static_cast<int>(judge::exit_code(verdict)) == outcome.exit_code) {
      return verdict;
    }
  }
  return Verdict::kHarnessFault;
}

std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of('\n');
  if (end == std::string::npos) {
    return {};
  }
  const std::size_t begin = text.rfind('\n', end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1,
                     end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

std::string message_of(const JobOutcome& outcome, judge::Verdict verdict, int limit) {
  if (verdict == judge::Verdict::kPass) {
    return {};
  }
  if (outcome.interrupted) {
    return "interrupted before it ended";
  }
  if (outcome.timed_out) {
    return fmt::format("stopped after {} s (--timeout)", limit);
  }
  if (outcome.signal_number != 0) {
    return fmt::format("ended by signal {}", outcome.signal_number);
  }
  const std::string line = last_line(outcome.error_tail);
  return line.empty() ? fmt::format("exit code {}", outcome.exit_code) : line;
}

reports::SuiteRun suite_run_of(const reports::SuiteId& id, const Job& job,
                               const JobOutcome& outcome, int limit) {
  reports::SuiteRun run;
  run.id = id;
  run.verdict = verdict_of(outcome);
  run.exit_code =
      outcome.interrupted ? static_cast<int>(judge::exit_code(run.verdict)) : outcome.exit_code;
  run.signal_number = outcome.interrupted ? 0 : outcome.signal_number;
  run.seconds = outcome.seconds;
  run.message = message_of(outcome, run.verdict, limit);
  for (const std::string& argument : job.arguments) {
    run.rerun +=
        (run.rerun.empty() ? "" : " ") +
        (argument.find_first_of(" *?'") == std::string::npos ? argument : "'" + argument + "'");
  }
  run.stderr_tail = outcome.error_tail;
  return run;
}

/// A line on a terminal that is rewritten as suites run.
void show_progress(const std::vector<std::string>& running, std::size_t done, std::size_t all) {
  if (isatty(STDERR_FILENO) == 1) {
    fmt::print(stderr, "\r\x1b[K[{}/{}] {}", done, all, running.empty() ? "" : running.front());
  }
}

void clear_progress() {
  if (isatty(STDERR_FILENO) == 1) {
    fmt::print(stderr, "\r\x1b[K");
  }
}

/// Places of the plan in the order in which its jobs start: the longest suites first, or the last
/// of them would run alone.
std::vector<std::size_t> starting_order(const Plan& plan) {
  constexpr std::array<std::string_view, 4> kLongest = {"training", "gradients", "stages", "lora"};
  std::vector<std::size_t> order(plan.ids.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t place) {
    return std::ranges::find(kLongest, plan.ids[place].suite) - kLongest.begin();
  });
  return order;
}

std::size_t place_of(const Plan& plan, const reports::SuiteId& id) {
  return static_cast<std::size_t>(std::ranges::find(plan.ids, id) - plan.ids.begin());
}

void run_suites(const CheckOptions& options, const Plan& plan, reports::Report& report) {
  Supervisor supervisor(fs::path(options.out) / "logs", options.jobs,
                        std::chrono::seconds(options.timeout_seconds));
  std::vector<std::size_t> order = starting_order(plan);
  std::vector<Job> jobs;
  std::ranges::transform(order, std::back_inserter(jobs),
                         [&](std::size_t place) { return plan.jobs[place]; });
  supervisor.run(
      jobs,
      [&](std::size_t index, const JobOutcome& outcome) {
        const std::size_t place = order[index];
        report.suite_runs.push_back(
            suite_run_of(plan.ids[place], plan.jobs[place], outcome, options.timeout_seconds));
      },
      [&](const std::vector<std::string>& running, std::size_t done) {
        show_progress(running, done, plan.jobs.size());
      });
  clear_progress();
  std::ranges::sort(report.suite_runs, {},
                    [&](const reports::SuiteRun& run) { return place_of(plan, run.id); });
  report.complete = !supervisor.interrupted();
}

/// Not stopped by a signal or by its supervisor: its cases tell why it did not pass.
bool ended_by_itself(const reports::SuiteRun& run) {
  return run.signal_number == 0 && run.verdict != judge::Verdict::kTimeout;
}

/// Takes the records of the journal into the report, each run's own counts, and of a run that did
/// not pass the first case that says why.
void take_journal(const fs::path& journal, const Plan& plan, std::size_t resumed,
                  reports::Report& report) {
  report.cases = records_of_run(journal, report);
  std::ranges::stable_sort(report.cases, {}, [&](const judge::CaseRecord& record) {
    return place_of(plan, {record.suite, record.dtype, record.device});
  });
  report.resumed_cases = static_cast<std::int64_t>(resumed);
  for (reports::SuiteRun& run : report.suite_runs) {
    bool explained = run.verdict == judge::Verdict::kPass;
    for (const judge::CaseRecord& record : report.cases) {
      if (record.suite == run.id.suite && record.dtype == run.id.dtype) {
        if (ended_by_itself(run) && record.verdict == run.verdict && !explained) {
          run.message = fmt::format("{}: {}", record.name, record.message);
          explained = true;
        }
        ++run.cases;
        run.comparisons += static_cast<std::int64_t>(record.comparisons.size());
      }
    }
  }
}

void add_known_mistakes(reports::Report& report) {
  for (const core::FaultInfo& fault : core::fault_register()) {
    report.known_mistakes.push_back({std::string(fault.id), std::string(fault.title),
                                     std::string(fault.suite), std::string(fault.locate)});
  }
}

void print_result(const CheckOptions& options, const reports::Report& report,
                  const reports::Rendered& rendered) {
  if (options.json) {
    nlohmann::json document = reports::to_json(reports::assess(report));
    document["report"] = (fs::path(options.out) / "report.json").string();
    document["html"] = rendered.html.string();
    document["junit"] = rendered.junit.string();
    fmt::print("{}\n", document.dump(2));
    return;
  }
  const bool colour = isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
  fmt::print("{}", reports::console_summary(report, colour));
  fmt::print("report: {}\n", rendered.html.string());
}

void check_no_repeats(const char* flag, std::vector<std::string> names) {
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  SPARITY_CHECK_INPUT(twice == names.end(),
                      fmt::format("{}: expected each once, found {} twice", flag, *twice));
}

/// Everything that a suite would refuse, and whatever the report would destroy: before the folder
/// of an earlier report is touched.
void check_options(const CheckOptions& options) {
  check_no_repeats("SUITE", options.suites);
  check_no_repeats("--dtype", options.dtypes);
  SPARITY_CHECK_INPUT(
      options.fault.empty() || runner::plantable(options.fault),
      fmt::format("--fault: expected an id of this build's register, found '{}'", options.fault));
  const bool bfloat16 = options.dtypes.empty() ||
                        std::ranges::find(options.dtypes, "bfloat16") != options.dtypes.end();
  SPARITY_CHECK_INPUT(options.recipe == core::Recipe::kOfficial || !bfloat16,
                      "--recipe: expected official with --dtype bfloat16, since `src` rounds so; "
                      "found hf");
  refuse_overwriting_by_report(options.out, {{"--model", options.source.model},
                                             {"--inputs", options.source.inputs},
                                             {"--config", options.source.config}});
}

}  // namespace

core::ExitCode run_check(CheckOptions options) {
  check_options(options);
  if (options.device == "cuda") {
    fmt::print(stderr, "sparity: skipped: --device cuda: this build has no CUDA path\n");
    return core::ExitCode::kAllSkipped;
  }
  reports::Report report;
  fill_provenance(options, report);
  const fs::path journal = fs::path(options.out) / "results.jsonl";
  const Plan plan = plan_of(options, journal);
  report.expected = plan.ids;
  open_folder(options, report, journal);
  const std::size_t resumed = records_of_run(journal, report).size();
  add_known_mistakes(report);
  run_suites(options, plan, report);
  take_journal(journal, plan, resumed, report);
  report.finished_utc = utc_now();
  const reports::Rendered rendered = reports::write_all(report, options.out);
  print_result(options, report, rendered);
  return reports::assess(report).exit_code;
}

}  // namespace sparity::cli
