#pragma once

#include "src/core/dtype.h"
#include "src/core/forward_options.h"
#include "suites/cases/model_source.h"

#include <CLI/CLI.hpp>

#include <string>

namespace sparity::cli {

/// Refuses the empty word: for options that name a file or a folder.
CLI::Validator not_empty();

// Options that several programs and commands have, spelled alike everywhere.

void add_dtype_option(CLI::App& command, core::Dtype& dtype);
void add_recipe_option(CLI::App& command, core::Recipe& recipe);
void add_attention_option(CLI::App& command, core::AttentionMode& attention);
void add_threads_option(CLI::App& command, int& threads);
/// --config and --seed.
void add_config_options(CLI::App& command, cases::ModelSource& source);
/// --model, --inputs, --config and --seed.
void add_source_options(CLI::App& command, cases::ModelSource& source);

/// The text to end a command's --help with.
std::string example(const std::string& command_line);

}  // namespace sparity::cli
