#include "src/core/error.h"
#include "src/train/finite.h"
#include "src/train/token_data.h"
#include "src/train/training_state.h"
#include "suites/cli/adapter_options.h"
#include "suites/cli/command.h"
#include "suites/cli/peak_memory.h"
#include "suites/cli/train_flags.h"
#include "suites/cli/train_metrics.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

namespace sparity::cli {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void warn(const std::string& message) { fmt::print(stderr, "sparity: warning: {}\n", message); }

/// The folder of the run: new or empty, or one whose steps a resumed run does not pass again.
void check_out(const TrainCommand& command, std::int64_t steps_done) {
  if (command.resume.empty()) {
    SPARITY_CHECK_INPUT(
        !fs::exists(command.out) || (fs::is_directory(command.out) && fs::is_empty(command.out)),
        fmt::format("--out: expected a new or empty folder, or --resume; found {}", command.out));
    return;
  }
  const std::optional<std::int64_t> latest = train::latest_step(command.out);
  SPARITY_CHECK_INPUT(
      !latest || *latest <= steps_done,
      fmt::format("--out: expected no checkpoint later than step-{}, from which to go on; found {}",
                  steps_done, (fs::path(command.out) / fmt::format("step-{}", *latest)).string()));
}

/// Whether --resume names the run's own folder before anything was saved there: the run then starts
/// from its beginning, so that one command serves however early a run was stopped.
bool starts_over(const TrainCommand& command) {
  std::error_code failure;
  return !command.resume.empty() && fs::equivalent(command.resume, command.out, failure) &&
         train::saved_nothing_yet(command.resume);
}

train::TokenData read_data(const std::string& path, const train::TrainOptions& options,
                           const core::ModelConfig& config) {
  const std::int64_t longest =
      options.max_tokens > 0 ? options.max_tokens : config.max_position_embeddings;
  return train::read_token_data(
      path, {config.vocab_size, longest, train::rules_of(options.stage).wants_lm(),
             "--max-tokens N allows more"});
}

/// A training run from its first step, or from where it was resumed, to its last.
class Run {
 public:
  Run(const TrainCommand& command, train::Trainer trainer, train::TokenData data,
      std::vector<tensors::Inputs> validation)
      : command_(command),
        trainer_(std::move(trainer)),
        data_(std::move(data)),
        order_(trainer_.options().seed, data_.size()),
        validation_(std::move(validation)),
        metrics_(fs::path(command.out) / train::kMetricsFile, trainer_.steps_done()) {}

  void go() {
    const train::TrainOptions& options = trainer_.options();
    while (trainer_.steps_done() < options.steps) {
      step();
      const std::int64_t done = trainer_.steps_done();
      const auto due = [&](std::int64_t every) {
        return done == options.steps || (every > 0 && done % every == 0);
      };
      if (!validation_.empty() && due(options.validate_every)) {
        validate();
      }
      if (due(options.save_every)) {
        checkpoint_ =
            train::save_training_state(trainer_, last_, data_.sha256, command_.out).string();
      }
    }
    clear_progress();
  }

  nlohmann::json summary() const {
    nlohmann::json result = {{"stage", core::word_of(trainer_.options().stage)},
                             {"steps", trainer_.steps_done()},
                             {"trained_parameters", trainer_.trained_count()},
                             {"first_loss", first_loss_.value_or(last_.loss.total)},
                             {"last_loss", last_.loss.total},
                             {"tokens", tokens_},
                             {"seconds", seconds_},
                             {"tokens_per_second", static_cast<double>(tokens_) / seconds_},
                             {"peak_resident_bytes", peak_resident_bytes()},
                             {"threads", at::get_num_threads()},
                             {"without_gradient", without_gradient_},
                             {"checkpoint", checkpoint_}};
    if (validated_) {
      result["validation_loss"] = validated_->total;
    }
    return result;
  }

 private:
  void step() {
    const train::TrainOptions& options = trainer_.options();
    const Clock::time_point start = Clock::now();
    std::vector<tensors::Inputs> micro_batches;
    for (std::int64_t m = 0; m < options.accumulate; ++m) {
      const std::int64_t micro_batch = trainer_.steps_done() * options.accumulate + m;
      micro_batches.push_back(
          train::batch_of(data_, order_.take(micro_batch * options.batch, options.batch)));
    }
    last_ = trainer_.step(micro_batches);
    const double seconds = seconds_since(start);
    first_loss_ = first_loss_.value_or(last_.loss.total);
    seconds_ += seconds;
    tokens_ += last_.tokens;
    report_missing();
    metrics_.append(step_metrics(last_, seconds, peak_resident_bytes()));
    show_progress();
  }

  /// Names each trained parameter that no gradient reached, the first time.
  void report_missing() {
    std::vector<std::string> fresh;
    for (const std::string& name : last_.without_gradient) {
      if (without_gradient_.insert(name).second) {
        fresh.push_back(name);
      }
    }
    if (!fresh.empty()) {
      warn(fmt::format("step {}: no gradient reaches {}: AdamW leaves what has none alone",
                       last_.step, fmt::join(fresh, ", ")));
    }
  }

  void validate() {
    const Clock::time_point start = Clock::now();
    validated_ = trainer_.validate(validation_);
    metrics_.append(validation_metrics(trainer_.steps_done(), *validated_, seconds_since(start)));
  }

  void show_progress() const {
    if (isatty(STDERR_FILENO) == 1) {
      fmt::print(stderr,
                 "\r\x1b[K[{}/{}] loss {:.4f}, gradient {:.3g}, {:.0f} tokens/s, peak "
                 "{:.2f} GiB",
                 last_.step, trainer_.options().steps, last_.loss.total, last_.gradient_norm,
                 static_cast<double>(tokens_) / seconds_,
                 static_cast<double>(peak_resident_bytes()) / (1 << 30));
    }
  }
  static void clear_progress() {
    if (isatty(STDERR_FILENO) == 1) {
      fmt::print(stderr, "\r\x1b[K");
    }
  }

  const TrainCommand& command_;
  train::Trainer trainer_;
  train::TokenData data_;
  train::RowOrder order_;
  std::vector<tensors::Inputs> validation_;
  MetricsFile metrics_;
  train::StepReport last_;
  std::optional<double> first_loss_;
  std::optional<train::LossReport> validated_;
  std::set<std::string> without_gradient_;
  std::string checkpoint_;
  std::int64_t tokens_ = 0;
  double seconds_ = 0;
};

std::vector<tensors::Inputs> validation_batches(const TrainCommand& command,
                                                const train::TrainOptions& options,
                                                const core::ModelConfig& config) {
  std::vector<tensors::Inputs> batches;
  if (command.validate.empty()) {
    return batches;
  }
  const train::TokenData data = read_data(command.validate, options, config);
  for (std::int64_t first = 0; first < data.size(); first += options.batch) {
    std::vector<std::int64_t> rows;
    for (std::int64_t i = first; i < std::min(first + options.batch, data.size()); ++i) {
      rows.push_back(i);
    }
    batches.push_back(train::batch_of(data, rows));
  }
  return batches;
}

void print_summary(const nlohmann::json& summary, const TrainCommand& command) {
  if (command.json) {
    fmt::print("{}\n", summary.dump(2));
    return;
  }
  fmt::print(
      "stage {}: {} steps, {} parameters train; loss {:.6g} to {:.6g}; {:.0f} tokens/s, "
      "peak {:.2f} GiB\n{}\n",
      summary.at("stage").get<std::string>(), summary.at("steps").get<std::int64_t>(),
      summary.at("trained_parameters").get<std::int64_t>(), summary.at("first_loss").get<double>(),
      summary.at("last_loss").get<double>(), summary.at("tokens_per_second").get<double>(),
      summary.at("peak_resident_bytes").get<double>() / (1 << 30),
      summary.at("checkpoint").get<std::string>());
}

/// Where parameters come from: the checkpoint of the run that goes on, or --model, on which
/// adapters train.
fs::path model_folder(const TrainCommand& command, const std::optional<train::RunRecord>& record,
                      const fs::path& resumed) {
  if (!record) {
    return command.model;
  }
  SPARITY_CHECK_INPUT(record->adapters.empty() || !command.model.empty(),
                      "--model: expected the checkpoint folder that the adapters are on beside "
                      "--resume, found none");
  return record->adapters.empty() ? resumed : fs::path(command.model);
}

/// --lora beside --resume, if it is there, must be what the run had.
void check_same_adapters(const std::vector<std::string>& words, const train::RunRecord& record) {
  const std::vector<AdapterArgument> arguments = adapter_arguments(words, "--lora");
  SPARITY_CHECK_INPUT(
      arguments.empty() || arguments.size() == record.adapters.size(),
      fmt::format("--lora: expected the run's {} adapters again, or none beside --resume; found {}",
                  record.adapters.size(), arguments.size()));
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const AdapterArgument& given = arguments[i];
    const train::AdapterRecord& known = record.adapters[i];
    SPARITY_CHECK_INPUT(
        given.name == known.name,
        fmt::format("--lora: expected '{}' again, found '{}'", known.name, given.name));
    SPARITY_CHECK_INPUT(
        core::to_json(adapter_config(given.path)) == core::to_json(known.config),
        fmt::format("--lora: {}: expected the run's configuration of adapter '{}' again, found "
                    "another",
                    given.path, given.name));
  }
}

/// The adapters that train: none, those of --lora, or those of the run that goes on.
std::vector<tensors::Adapter> adapters_of(const TrainCommand& command,
                                          const train::TrainOptions& options,
                                          const std::optional<train::RunRecord>& record,
                                          const fs::path& resumed,
                                          const core::TensorManifest& manifest) {
  if (record) {
    check_same_adapters(command.lora, *record);
    return train::read_adapters(*record, resumed, manifest);
  }
  return trained_adapters(command.lora, manifest, static_cast<std::uint64_t>(options.seed));
}

core::ExitCode run(const TrainCommand& command) {
  const train::TrainOptions options = options_of(command);
  SPARITY_CHECK_INPUT(!command.model.empty() || !command.resume.empty(),
                      "--model: expected a checkpoint folder to start from, or --resume");
  SPARITY_CHECK_INPUT(options.validate_every == 0 || !command.validate.empty(),
                      "--validate-every: expected --validate FILE beside it, found none");
  if (command.threads > 0) {
    at::set_num_threads(command.threads);
  }
  std::optional<train::RunRecord> record;
  fs::path resumed;
  if (starts_over(command)) {
    SPARITY_CHECK_INPUT(!command.model.empty(),
                        fmt::format("--model: expected a checkpoint folder to start from beside "
                                    "--resume {}, which holds no checkpoint yet; found none",
                                    command.resume));
    warn(fmt::format("{}: no checkpoint yet: the run starts from its beginning, and {} train",
                     command.resume,
                     command.lora.empty() ? "the model's weights" : "the adapters of --lora"));
  } else if (!command.resume.empty()) {
    resumed = train::find_training_state(command.resume);
    record = train::read_run_record(resumed);
  }
  check_out(command, record ? record->step : 0);
  tensors::Checkpoint checkpoint = tensors::load_checkpoint(model_folder(command, record, resumed));
  for (const std::string& warning : checkpoint.warnings) {
    warn(warning);
  }
  train::check_finite(checkpoint, model_folder(command, record, resumed));
  train::TokenData data = read_data(command.data, options, checkpoint.config);
  if (record) {
    train::check_same_run(*record, options, data.sha256, resumed);
  }
  const std::vector<tensors::Adapter> adapters =
      adapters_of(command, options, record, resumed, checkpoint.manifest);
  std::vector<tensors::Inputs> validation = validation_batches(command, options, checkpoint.config);
  train::Trainer trainer(std::move(checkpoint), options, adapters);
  if (record) {
    train::restore(trainer, *record, resumed);
    if (record->threads != at::get_num_threads()) {
      warn(
          fmt::format("the run was saved with {} threads and goes on with {}: bits may differ from "
                      "those of a run that was never stopped",
                      record->threads, at::get_num_threads()));
    }
  }
  std::error_code failure;
  fs::create_directories(command.out, failure);
  SPARITY_CHECK_INPUT(!failure,
                      fmt::format("--out: {}: cannot create: {}", command.out, failure.message()));
  Run training(command, std::move(trainer), std::move(data), std::move(validation));
  training.go();
  print_summary(training.summary(), command);
  return core::ExitCode::kPass;
}

}  // namespace

void add_train(CLI::App& app, Action& action) {
  const auto command = std::make_shared<TrainCommand>();
  CLI::App& train = *app.add_subcommand(
      "train", "Train a checkpoint in one of the stages of DeepSeek-V3.2, on the CPU");
  add_train_flags(train, *command);
  train.footer(
      example("sparity train --model /tmp/tiny --data tokens.jsonl --out /tmp/run --stage sparse "
              "--steps 100 --batch 4 --lr 1e-3 --schedule cosine --warmup 10 --save-every 50"));
  train.callback([command, &action] { action = [command] { return run(*command); }; });
}

}  // namespace sparity::cli
