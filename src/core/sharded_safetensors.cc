#include "src/core/error.h"
#include "src/core/json_fields.h"
#include "src/core/safetensors.h"
#include "src/core/strict_json.h"
#include "src/core/tensor_name.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <utility>

namespace sparity::core {

namespace {

namespace fs = std::filesystem;

/// True for a plain file name: no separator, no parent, nothing invisible.
bool is_bare_file_name(const std::string& name) {
  return tensor_name_complaint(name).empty() && name.find_first_of("/\\") == std::string::npos &&
         name != ".";
}

std::string in_shard(const fs::path& shard, const std::string& tensor) {
  return fmt::format("{}: {}", shard.string(), pointer_step(tensor));
}

}  // namespace

ShardIndex parse_shard_index(const nlohmann::json& document, const std::string& source) {
  JsonFields root(document, source);
  ShardIndex index;
  if (const nlohmann::json* metadata = root.find_value("metadata")) {
    JsonFields fields(*metadata, source, "/metadata");
    index.total_size = fields.optional_number("total_size", 0.0, HUGE_VAL);
  }
  const nlohmann::json* map = root.find("weight_map");
  SPARITY_CHECK_INPUT(map != nullptr,
                      fmt::format("{}: /weight_map: expected an object, found none", source));
  JsonFields shards(*map, source, "/weight_map");
  for (const auto& item : map->items()) {
    const std::string complaint = tensor_name_complaint(item.key());
    SPARITY_CHECK_INPUT(complaint.empty(), fmt::format("{}: {}: expected a tensor name {}", source,
                                                       shards.pointer(item.key()), complaint));
    const std::string shard = shards.text(item.key()).value_or("");
    if (!is_bare_file_name(shard)) {
      shards.fail(item.key(), "the bare name of a file beside the index", quote(shard));
    }
    index.weight_map.emplace(item.key(), shard);
  }
  SPARITY_CHECK_INPUT(!index.weight_map.empty(),
                      fmt::format("{}: /weight_map: expected tensors, found none", source));
  return index;
}

ShardedSafetensors ShardedSafetensors::open(const fs::path& folder) {
  std::error_code ignored;
  SPARITY_CHECK_INPUT(fs::is_directory(folder, ignored),
                      fmt::format("{}: expected a checkpoint folder, found {}", folder.string(),
                                  fs::exists(folder, ignored) ? "a file" : "nothing"));
  ShardedSafetensors checkpoint;
  const bool has_index = fs::exists(folder / kWeightsIndexFile, ignored);
  if (fs::exists(folder / kWeightsFile, ignored)) {
    checkpoint.add_shard(folder / kWeightsFile);
    if (has_index) {
      checkpoint.warnings_.push_back(fmt::format("{}: ignored, since {} is there too",
                                                 (folder / kWeightsIndexFile).string(),
                                                 kWeightsFile));
    }
    return checkpoint;
  }
  SPARITY_CHECK_INPUT(has_index, fmt::format("{}: expected {} or {}, found neither",
                                             folder.string(), kWeightsFile, kWeightsIndexFile));
  checkpoint.open_index(folder);
  return checkpoint;
}

void ShardedSafetensors::add_shard(const fs::path& path) {
  const std::size_t shard = shards_.size();
  shards_.emplace_back(path);
  for (const auto& [name, entry] : shards_.back().tensors()) {
    const auto [existing, added] = tensors_.emplace(name, Location{shard, entry});
    SPARITY_CHECK_INPUT(
        added, fmt::format("{}: expected each tensor in one shard, found it in {} "
                           "too",
                           in_shard(path, name), shards_[existing->second.shard].path().string()));
  }
}

void ShardedSafetensors::open_index(const fs::path& folder) {
  const fs::path path = folder / kWeightsIndexFile;
  const std::string source = path.string();
  const ShardIndex index = parse_shard_index(read_json(path), source);
  std::map<std::string, std::size_t> shard_numbers;
  for (const auto& [name, shard] : index.weight_map) {
    if (shard_numbers.emplace(shard, shards_.size()).second) {
      std::error_code ignored;
      SPARITY_CHECK_INPUT(fs::exists(folder / shard, ignored),
                          fmt::format("{}: /weight_map{}: expected the shard {}, found no such "
                                      "file",
                                      source, pointer_step(name), quote(shard)));
      add_shard(folder / shard);
    }
  }
  for (const auto& [name, shard] : index.weight_map) {
    const auto location = tensors_.find(name);
    SPARITY_CHECK_INPUT(
        location != tensors_.end() && location->second.shard == shard_numbers.at(shard),
        fmt::format("{}: /weight_map{}: expected the tensor in {}, found it {}", source,
                    pointer_step(name), quote(shard),
                    location == tensors_.end() ? "in none of its shards" : "in another shard"));
  }
  double total = 0.0;
  for (const auto& [name, location] : tensors_) {
    SPARITY_CHECK_INPUT(index.weight_map.contains(name),
                        fmt::format("{}: expected only tensors of the index, found this one",
                                    in_shard(shards_[location.shard].path(), name)));
    total += static_cast<double>(location.entry.end - location.entry.begin);
  }
  if (index.total_size && *index.total_size != total) {
    warnings_.push_back(fmt::format("{}: /metadata/total_size: expected {:.0f}, found {}", source,
                                    total, *index.total_size));
  }
}

void ShardedSafetensors::read(const std::string& name, std::span<std::byte> out) const {
  const auto location = tensors_.find(name);
  SPARITY_CHECK(location != tensors_.end(),
                fmt::format("{}: no tensor of this name in the checkpoint", name));
  shards_[location->second.shard].read(name, out);
}

}  // namespace sparity::core
