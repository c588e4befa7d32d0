#include "suites/cli/inspection.h"

#include "src/core/dtype.h"
#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "src/core/strict_json.h"
#include "src/core/tensor_manifest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <array>
#include <string_view>
#include <utility>

namespace sparity::cli {

namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// The config but for `quantization_config`, which every other reader refuses.
core::ParsedConfig read_config(const std::filesystem::path& folder, Inspection& result) {
  const std::filesystem::path path = folder / "config.json";
  nlohmann::json document = core::read_json(path, {.max_depth = 16});
  const auto found = document.is_object() ? document.find("quantization_config") : document.end();
  if (found == document.end() || found->is_null()) {
    return core::read_model_config(folder);
  }
  const bool named = found->is_object() && found->contains("quant_method") &&
                     found->at("quant_method").is_string();
  result.quantisation =
      named ? found->at("quant_method").get<std::string>() : std::string("unnamed");
  document.erase(found);
  return core::parse_model_config(document, path.string());
}

/// Sorts one tensor of the files into what it is.
void inspect_tensor(const core::TensorManifest& manifest, const std::string& name,
                    const core::TensorEntry& entry, Inspection& result) {
  ++result.dtypes[std::string(core::safetensors_name(entry.dtype))];
  result.bytes += entry.end - entry.begin;
  if (manifest.is_mtp(name)) {
    result.mtp.push_back(name);
    return;
  }
  if (!core::is_floating(entry.dtype)) {
    result.wrong_dtype.push_back(fmt::format("{}: expected F32, BF16, F16 or F64, found {}", name,
                                             core::safetensors_name(entry.dtype)));
  }
  if (!manifest.contains(name)) {
    result.left_over.push_back(name);
  } else if (manifest.at(name).shape != entry.shape) {
    result.misshapen.push_back(fmt::format("{}: expected {}, found {}", name,
                                           shape_text(manifest.at(name).shape),
                                           shape_text(entry.shape)));
  }
}

void inspect_files(const core::ShardedSafetensors& files, const core::TensorManifest& manifest,
                   Inspection& result) {
  result.warnings.insert(result.warnings.end(), files.warnings().begin(), files.warnings().end());
  for (const core::SafetensorsFile& shard : files.shards()) {
    result.shards.push_back(shard.path().filename().string());
  }
  for (const auto& [name, location] : files.tensors()) {
    inspect_tensor(manifest, name, location.entry, result);
  }
  for (const core::ParameterSpec& parameter : manifest.parameters()) {
    if (!files.tensors().contains(parameter.name)) {
      result.missing.push_back(parameter.name);
    }
  }
}

}  // namespace

std::string Inspection::complaint() const {
  if (!quantisation.empty()) {
    return fmt::format("weights quantised by {}, which are not supported yet",
                       core::quote(quantisation));
  }
  using Kind = std::pair<std::string_view, const std::vector<std::string>*>;
  const std::array kinds = {Kind{"missing", &missing}, Kind{"not in the model", &left_over},
                            Kind{"of another shape", &misshapen},
                            Kind{"of another dtype", &wrong_dtype}};
  for (const auto& [what, names] : kinds) {
    if (!names->empty()) {
      return fmt::format("{} {} ({}{})", names->size(), what, names->front(),
                         names->size() > 1 ? ", …" : "");
    }
  }
  return {};
}

Inspection inspect(const std::filesystem::path& folder) {
  SPARITY_CHECK_INPUT(std::filesystem::is_directory(folder),
                      fmt::format("{}: expected a checkpoint folder", folder.string()));
  Inspection result;
  core::ParsedConfig parsed = read_config(folder, result);
  const core::TensorManifest manifest(parsed.config);
  result.config = std::move(parsed.config);
  result.warnings = std::move(parsed.warnings);
  result.parameters = manifest.parameter_count();
  result.indexer_parameters = manifest.indexer_parameter_count();
  try {
    inspect_files(core::ShardedSafetensors::open(folder), manifest, result);
  } catch (const core::Error& error) {
    if (result.quantisation.empty()) {
      throw;
    }
    result.unread = error.what();  // types such as F8_E4M3
  }
  return result;
}

}  // namespace sparity::cli
