#pragma once

#include "src/core/error.h"
#include "suites/cli/options.h"

#include <CLI/CLI.hpp>

#include <functional>

namespace sparity::cli {

/// A command's work; the exit code is the process's.
using Action = std::function<core::ExitCode()>;

// Each adds its command with options and help to `app`, and sets `action` when the user chose it.
void add_check(CLI::App& app, Action& action);
void add_run(CLI::App& app, Action& action);
void add_train(CLI::App& app, Action& action);
void add_convert(CLI::App& app, Action& action);
void add_compare(CLI::App& app, Action& action);
void add_init(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_report(CLI::App& app, Action& action);
void add_selfcheck(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);

}  // namespace sparity::cli
