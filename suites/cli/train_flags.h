#pragma once

#include "src/train/train_options.h"

#include <CLI/CLI.hpp>

#include <map>
#include <string>
#include <vector>

namespace sparity::cli {

/// What `sparity train` was told.
struct TrainCommand {
  std::string model;
  std::string data;
  std::string out;
  std::string validate;
  std::string resume;
  std::string config;
  std::string stage;
  std::vector<std::string> lora;
  std::map<std::string, std::string> flags;  // option → what it was given; "" for a switch
  int threads = 0;
  bool json = false;
};

/// Adds every flag of the command; the options of training are those of train/option_fields.h.
void add_train_flags(CLI::App& app, TrainCommand& command);

/// The stage's defaults, then the config file, then the flags; settled. Throws (exit code 5) where
/// one of them is wrong.
train::TrainOptions options_of(const TrainCommand& command);

}  // namespace sparity::cli
