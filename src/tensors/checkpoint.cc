#include "src/tensors/checkpoint.h"

#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/safetensors.h"
#include "src/tensors/at_dtype.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <map>
#include <utility>

namespace sparity::tensors {

namespace {

at::Tensor read_tensor(const core::ShardedSafetensors& files, const std::string& name,
                       const core::TensorEntry& entry) {
  at::Tensor tensor = at::empty(entry.shape, to_scalar_type(entry.dtype));
  files.read(name, {static_cast<std::byte*>(tensor.mutable_data_ptr()), tensor.nbytes()});
  return tensor;
}

core::TensorBytes borrowed(const core::ParameterSpec& parameter, const at::Tensor& tensor) {
  return {parameter.name, to_dtype(tensor.scalar_type()), parameter.shape, bytes_of(tensor)};
}

void write_sharded(const std::vector<std::vector<core::TensorBytes>>& shards, std::uint64_t total,
                   const std::filesystem::path& folder) {
  nlohmann::json weight_map;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    core::write_safetensors(folder / file, shards[i], {{"format", "pt"}});
    for (const core::TensorBytes& tensor : shards[i]) {
      weight_map[tensor.name] = file;
    }
  }
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  core::write_file_atomically(folder / core::kWeightsIndexFile, index.dump(2) + "\n");
}

}  // namespace

Checkpoint load_checkpoint(const std::filesystem::path& folder) {
  SPARITY_CHECK_INPUT(std::filesystem::is_directory(folder),
                      fmt::format("{}: expected a checkpoint folder", folder.string()));
  core::ParsedConfig parsed = core::read_model_config(folder);
  core::TensorManifest manifest(parsed.config);
  const core::ShardedSafetensors files = core::ShardedSafetensors::open(folder);

  std::vector<std::string> warnings = std::move(parsed.warnings);
  warnings.insert(warnings.end(), files.warnings().begin(), files.warnings().end());
  std::map<std::string, at::Tensor> tensors;
  std::size_t set_aside = 0;
  for (const auto& [name, location] : files.tensors()) {
    if (manifest.is_mtp(name)) {
      ++set_aside;
      continue;
    }
    SPARITY_CHECK_INPUT(core::is_floating(location.entry.dtype),
                        fmt::format("{}: tensor '{}': expected F32, BF16, F16 or F64, found {}",
                                    files.shards()[location.shard].path().string(), name,
                                    core::safetensors_name(location.entry.dtype)));
    if (manifest.contains(name) && location.entry.shape == manifest.at(name).shape) {
      tensors.emplace(name, read_tensor(files, name, location.entry));
    } else {
      tensors.emplace(name, at::empty(location.entry.shape, at::kMeta));  // refused below, unread
    }
  }
  if (set_aside > 0) {
    warnings.push_back(fmt::format(
        "{}: {} tensors of the multi-token-prediction layer model.layers.{} are left alone",
        folder.string(), set_aside, parsed.config.num_hidden_layers));
  }
  const std::filesystem::path listing =
      files.shards().size() == 1 ? files.shards().front().path() : folder / core::kWeightsIndexFile;
  WeightStore weights(manifest, std::move(tensors), listing.string());
  return {std::move(parsed.config), std::move(manifest), std::move(weights), std::move(warnings)};
}

void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& folder,
                     std::uint64_t max_shard_bytes) {
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  SPARITY_CHECK_INPUT(!failure,
                      fmt::format("{}: cannot create: {}", folder.string(), failure.message()));
  std::vector<std::vector<core::TensorBytes>> shards(1);
  std::uint64_t total = 0;
  std::uint64_t in_shard = 0;
  std::vector<at::Tensor> contiguous;  // keeps borrowed bytes alive
  contiguous.reserve(checkpoint.manifest.parameters().size());
  for (const core::ParameterSpec& parameter : checkpoint.manifest.parameters()) {
    contiguous.push_back(checkpoint.weights.at(parameter.name).contiguous());
    const std::uint64_t bytes = contiguous.back().nbytes();
    if (in_shard > 0 && in_shard + bytes > max_shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().push_back(borrowed(parameter, contiguous.back()));
    in_shard += bytes;
    total += bytes;
  }
  if (shards.size() == 1) {
    core::write_safetensors(folder / core::kWeightsFile, shards.front(), {{"format", "pt"}});
  } else {
    write_sharded(shards, total, folder);
  }
  core::write_file_atomically(folder / "config.json",
                              core::to_json(checkpoint.config).dump(2) + "\n");
}

}  // namespace sparity::tensors
