#pragma once

#include "src/train/trainer.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace sparity::train {

/// An adapter as the run was given it: PEFT's files say the same in other words.
struct AdapterRecord {
  std::string name;
  core::AdapterConfig config;
};

/// One line a step, in the folder of a run.
constexpr const char* kMetricsFile = "metrics.jsonl";

/// What a checkpoint of a run says beside its tensors: `trainer.json`.
struct RunRecord {
  std::int64_t step = 0;
  TrainOptions options;       // settled
  std::string data_sha256;    // of the token file
  std::string frozen_sha256;  // of the frozen parameters
  std::int64_t threads = 0;
  std::vector<AdapterRecord> adapters;  // empty where parameters train
};

/// Writes `out`/step-N: `config.json`, `model.safetensors` (or shards), `optimizer.safetensors` and
/// `trainer.json`; where adapters train, in place of the model, which stays as it was, PEFT's
/// folders of them: a single adapter "default" in step-N itself, any other in step-N/NAME.
/// Everything goes to `step-N.tmp` first and is flushed to disk; the folder gets its name last, so
/// that a run that is killed meanwhile leaves the earlier checkpoints and a folder that nobody
/// reads. Throws (exit code 6) when a frozen parameter has changed, (exit code 5) when step-N is
/// there already, and (exit code 4) when writing fails; then nothing is left behind.
std::filesystem::path save_training_state(const Trainer& trainer, const StepReport& last,
                                          const std::string& data_sha256,
                                          const std::filesystem::path& out);

/// N of the latest whole step-N in `folder`; nothing where there is none.
std::optional<std::int64_t> latest_step(const std::filesystem::path& folder);

/// True for a folder that holds no more than a run leaves there before its first checkpoint:
/// `metrics.jsonl`, a `step-N.tmp`, or nothing.
bool saved_nothing_yet(const std::filesystem::path& folder);

/// The checkpoint that `path` names: itself, or the latest step-N in it. Throws (exit code 5) when
/// there is none.
std::filesystem::path find_training_state(const std::filesystem::path& path);

/// Reads `folder`/trainer.json; throws (exit code 5) with file, member, expected and found.
RunRecord read_run_record(const std::filesystem::path& folder);

/// The adapters of a checkpoint, as they were saved.
std::vector<tensors::Adapter> read_adapters(const RunRecord& record,
                                            const std::filesystem::path& folder,
                                            const core::TensorManifest& manifest);

/// Throws (exit code 5), naming what differs, unless a run of these options and data goes on where
/// `record` ends.
void check_same_run(const RunRecord& record, const TrainOptions& options,
                    const std::string& data_sha256, const std::filesystem::path& folder);

/// Puts `trainer`, made from the checkpoint in `folder`, where the run was when it was written.
void restore(Trainer& trainer, const RunRecord& record, const std::filesystem::path& folder);

}  // namespace sparity::train
