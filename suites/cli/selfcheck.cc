#include "src/core/fault.h"
#include "src/core/strict_json.h"
#include "suites/cli/command.h"
#include "suites/cli/suite_program.h"
#include "suites/cli/supervisor.h"
#include "suites/runner/suite_names.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

namespace sparity::cli {

namespace {

namespace fs = std::filesystem;

struct SelfcheckOptions {
  std::vector<std::string> dtypes = {"float32", "bfloat16"};
  std::string out;
  int jobs = 1;
  bool json = false;
};

/// A folder of this process's own, removed at the end.
class ScratchFolder {
 public:
  ScratchFolder()
      : path_(fs::temp_directory_path() / fmt::format("sparity-selfcheck-{}", getpid())) {
    fs::create_directories(path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::vector<Job> jobs_for(const SelfcheckOptions& options, const fs::path& folder) {
  std::vector<Job> jobs;
  for (const std::string_view suite : runner::kSuiteNames) {
    for (const std::string& dtype : options.dtypes) {
      const std::string name = fmt::format("{}.{}", suite, dtype);
      jobs.push_back({name,
                      {suite_program().string(), "--suite", std::string(suite), "--dtype", dtype,
                       "--expect-kills", "--kills-out", (folder / (name + ".json")).string()}});
    }
  }
  return jobs;
}

/// One line a fault and dtype. Returns whether it was killed and located.
bool print_kill(const nlohmann::json& kill, bool quiet) {
  const bool ok = kill.at("killed").get<bool>() && kill.at("located").get<bool>();
  if (!quiet) {
    fmt::print("{:<4} {:<5} {:<9} {:<10} {:<8} {:>9} {}\n", ok ? "ok" : "FAIL",
               kill.at("fault").get<std::string>(), kill.at("dtype").get<std::string>(),
               kill.at("suite").get<std::string>(), kill.at("gate").get<std::string>(),
               kill.at("headroom").is_number()
                   ? fmt::format("{:.2g}", kill.at("headroom").get<double>())
                   : "inf",
               kill.at("title").get<std::string>());
  }
  return ok;
}

core::ExitCode run(const SelfcheckOptions& options) {
  SPARITY_CHECK_INPUT(!core::fault_register().empty(),
                      "selfcheck: this build has no planted faults; use one configured with "
                      "-DSPARITY_FAULTS=ON");
  const ScratchFolder scratch;
  const std::vector<Job> jobs = jobs_for(options, scratch.path());
  nlohmann::json matrix = nlohmann::json::array();
  std::size_t failed = 0;
  Supervisor supervisor(scratch.path() / "logs", options.jobs, std::chrono::seconds(1800));
  supervisor.run(
      jobs,
      [&](std::size_t index, const JobOutcome& outcome) {
        const fs::path result = scratch.path() / (jobs[index].name + ".json");
        if (!fs::exists(result)) {
          ++failed;
          fmt::print(stderr, "FAIL {}: {}\n", jobs[index].name, outcome.error_tail);
          return;
        }
        for (const nlohmann::json& kill : core::read_json(result)) {
          failed += print_kill(kill, options.json) ? 0 : 1;
          matrix.push_back(kill);
        }
      },
      [](const std::vector<std::string>&, std::size_t) {});
  if (options.json) {
    fmt::print("{}\n", matrix.dump(2));
  } else {
    fmt::print("{} planted faults run, {} not killed or not located\n", matrix.size(), failed);
  }
  return failed == 0 && !matrix.empty() && !supervisor.interrupted()
             ? core::ExitCode::kPass
             : core::ExitCode::kHarnessFault;
}

}  // namespace

void add_selfcheck(CLI::App& app, Action& action) {
  const auto options = std::make_shared<SelfcheckOptions>();
  CLI::App& command = *app.add_subcommand(
      "selfcheck", "Plant every known mistake in turn: each must be caught, and named where it is");
  command
      .add_option("--dtype", options->dtypes, "Activation dtypes (default: float32 and bfloat16)")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->allow_extra_args(false);
  command.add_option("--jobs", options->jobs, "Suites that run at a time")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command.add_flag("--json", options->json, "Print the kill matrix as JSON");
  command.footer(example("sparity selfcheck"));
  command.callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace sparity::cli
