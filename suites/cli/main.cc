#include "suites/cli/build_info.h"
#include "suites/cli/command.h"
#include "suites/judge/start_check.h"

#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <csignal>
#include <exception>
#include <new>
#include <string>

namespace {

using sparity::core::ExitCode;

int fail(ExitCode code, const std::string& message) {
  fmt::print(stderr, "sparity: {}\n", message);
  return static_cast<int>(code);
}

/// Runs the chosen command; every failure becomes a message and an exit code.
int run(const sparity::cli::Action& action) {
  try {
    sparity::judge::start_check();
    return static_cast<int>(action());
  } catch (const sparity::core::Error& error) {
    const std::string where = error.code() == ExitCode::kBadInput ? "" : " (" + error.where() + ")";
    return fail(error.code(), error.what() + where);
  } catch (const std::bad_alloc&) {
    return fail(ExitCode::kCrashed, "out of memory");
  } catch (const c10::OutOfMemoryError& error) {
    return fail(ExitCode::kCrashed,
                fmt::format("out of memory: {}", error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    return fail(ExitCode::kCrashed, fmt::format("LibTorch: {}", error.what_without_backtrace()));
  } catch (const std::exception& error) {
    return fail(ExitCode::kCrashed, error.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  // A write beyond the limit on file sizes then fails with a message and leaves nothing behind.
  std::signal(SIGXFSZ, SIG_IGN);
  CLI::App app{
      "Sparity checks implementations of DeepSeek-V3.2-style models: numerically right or not, "
      "where it "
      "first goes wrong, and by how much.",
      "sparity"};
  app.set_version_flag("--version", std::string(sparity::cli::kVersion));
  app.require_subcommand(1);
  app.footer(
      "\nExit codes: 0 pass, 1 parity failed, 2 performance regressed, 3 inconclusive, 4 crash, "
      "time-out or out of memory, 5 bad input or usage, 6 the harness's own check failed, 77 all "
      "skipped.");
  sparity::cli::Action action;
  sparity::cli::add_check(app, action);
  sparity::cli::add_run(app, action);
  sparity::cli::add_train(app, action);
  sparity::cli::add_convert(app, action);
  sparity::cli::add_compare(app, action);
  sparity::cli::add_init(app, action);
  sparity::cli::add_inspect(app, action);
  sparity::cli::add_bench(app, action);
  sparity::cli::add_report(app, action);
  sparity::cli::add_selfcheck(app, action);
  sparity::cli::add_doctor(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(ExitCode::kBadInput);
  }
  return run(action);
}
