#include "src/tensors/adapter.h"

#include "src/core/adapter_export.h"
#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/philox.h"
#include "src/core/safetensors.h"
#include "src/core/strict_json.h"
#include "src/tensors/at_dtype.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

namespace sparity::tensors {

namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kTensorFile = "adapter_model.safetensors";
constexpr std::size_t kListedAtMost = 12;

/// What is wrong with a file's tensors, kind by kind.
class Complaints {
 public:
  void add(const std::string& kind, std::string name) { kinds_[kind].push_back(std::move(name)); }

  /// "; "-separated, e.g. "2 missing (a, b)"; empty where nothing is wrong.
  std::string text() const {
    std::vector<std::string> parts;
    for (const auto& [kind, names] : kinds_) {
      const std::size_t shown = std::min(names.size(), kListedAtMost);
      parts.push_back(fmt::format(
          "{} {} ({}{})", names.size(), kind,
          fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
          shown < names.size() ? fmt::format(" and {} more", names.size() - shown) : ""));
    }
    return fmt::format("{}", fmt::join(parts, "; "));
  }

 private:
  std::map<std::string, std::vector<std::string>> kinds_;
};

using TensorsByName = std::map<std::string, const core::AdapterTensor*>;

/// What may have happened to a tensor of the file that the layout has no place for.
std::string hint_for(const std::string& name, const TensorsByName& expected) {
  constexpr std::string_view kPrefix = "base_model.model.";
  if (expected.contains(std::string(kPrefix) + name)) {
    return fmt::format(": without its {} in front", kPrefix);
  }
  const std::size_t end = name.rfind(".weight");
  const std::size_t adapter = end == std::string::npos ? end : name.rfind('.', end - 1);
  if (adapter != std::string::npos &&
      expected.contains(name.substr(0, adapter) + name.substr(end))) {
    return ": with an adapter's name in it, as in memory";
  }
  if (name.ends_with(".base_layer.weight")) {
    return ": a base model's weight: save with save_embedding_layers=False";
  }
  return "";
}

/// "expected [3, 72], found [72, 3]", and why that may be.
std::string shape_complaint(const core::AdapterTensor& tensor,
                            const std::vector<std::int64_t>& found) {
  const bool transposed =
      std::ranges::equal(tensor.shape.rbegin(), tensor.shape.rend(), found.begin(), found.end());
  return fmt::format("{}: expected [{}], found [{}]{}", tensor.name, fmt::join(tensor.shape, ", "),
                     fmt::join(found, ", "), transposed ? ", its transpose" : "");
}

/// The other factor's name.
std::string partner_of(const std::string& name, bool is_a) {
  const std::string own = is_a ? ".lora_A.weight" : ".lora_B.weight";
  return name.substr(0, name.size() - own.size()) + (is_a ? ".lora_B.weight" : ".lora_A.weight");
}

/// True where A has B's shape and B has A's.
bool are_swapped(const core::AdapterTensor& a, const core::AdapterTensor& b,
                 const core::SafetensorsFile& file) {
  return file.contains(b.name) && file.at(a.name).shape == b.shape &&
         file.at(b.name).shape == a.shape && a.shape != b.shape;
}

/// Throws unless the file has the layout's tensors and no other.
void check_names_and_shapes(const core::SafetensorsFile& file, const core::AdapterLayout& layout) {
  TensorsByName expected;
  for (const core::AdapterTensor& tensor : layout.tensors()) {
    expected.emplace(tensor.name, &tensor);
  }
  Complaints complaints;
  for (const core::AdapterTensor& tensor : layout.tensors()) {
    if (!file.contains(tensor.name)) {
      complaints.add("missing", tensor.name);
      continue;
    }
    const core::TensorEntry& entry = file.at(tensor.name);
    if (entry.shape != tensor.shape) {
      const core::AdapterTensor& partner = *expected.at(partner_of(tensor.name, tensor.is_a));
      const bool swapped = are_swapped(tensor, partner, file);
      complaints.add(swapped ? "with A and B swapped" : "of another shape",
                     shape_complaint(tensor, entry.shape));
    }
    if (!core::is_floating(entry.dtype)) {
      complaints.add("of no floating type",
                     fmt::format("{}: {}", tensor.name, core::safetensors_name(entry.dtype)));
    }
  }
  for (const auto& [name, entry] : file.tensors()) {
    if (!expected.contains(name)) {
      complaints.add("that the configuration adapts nothing by", name + hint_for(name, expected));
    }
  }
  const std::string text = complaints.text();
  SPARITY_CHECK_INPUT(text.empty(),
                      fmt::format("{}: expected the tensors that {} describes, found {}",
                                  file.path().string(), kConfigFile, text));
}

at::Tensor read_widened(const core::SafetensorsFile& file, const std::string& name) {
  const core::TensorEntry& entry = file.at(name);
  at::Tensor stored = at::empty(entry.shape, to_scalar_type(entry.dtype));
  file.read(name, {static_cast<std::byte*>(stored.mutable_data_ptr()), stored.nbytes()});
  SPARITY_CHECK_INPUT(at::isfinite(stored).all().item().toBool(),
                      fmt::format("{}: '{}': expected finite numbers, found infinities or NaN",
                                  file.path().string(), name));
  return stored.to(at_least_f32(stored.scalar_type()));
}

at::Tensor drawn(const core::AdapterTensor& tensor, const core::AdapterConfig& config,
                 const core::RandomStream& stream, bool filled) {
  if (!tensor.is_a && !filled) {
    return at::zeros(tensor.shape, at::kFloat);
  }
  const bool uniform =
      tensor.is_a && config.init_lora_weights == core::AdapterInit::kKaimingUniform;
  const double bound = 1.0 / std::sqrt(static_cast<double>(tensor.shape[1]));
  const double spread = tensor.is_a ? 1.0 / static_cast<double>(tensor.rank) : 0.1;
  at::Tensor values = at::empty(tensor.shape, at::kFloat);
  float* out = values.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    const auto index = static_cast<std::uint64_t>(i);
    out[i] = static_cast<float>(uniform ? bound * (2 * stream.uniform(index) - 1)
                                        : spread * stream.normal(index));
  }
  return values;
}

/// A of one matrix, [rank, in], out of the tensor that holds it.
at::Tensor own_a(const core::AdapterPair& pair, const at::Tensor& stored) {
  return pair.experts == 1 ? stored : stored.narrow(0, pair.expert * pair.rank, pair.rank);
}

/// B of one matrix, [out, rank], out of the tensor that holds it.
at::Tensor own_b(const core::AdapterPair& pair, const at::Tensor& stored, std::int64_t rows) {
  if (pair.experts == 1) {
    return stored;
  }
  // All experts of one rank index lie side by side.
  return stored.narrow(0, pair.first_row, rows)
      .view({rows, pair.rank, pair.experts})
      .select(2, pair.expert);
}

/// How many rows of its B each pair has: all, or half where gate and up share it.
std::map<std::string, std::int64_t> rows_by_b(const Adapter& adapter) {
  std::map<std::string, std::int64_t> rows;
  for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
    rows[tensor.name] = tensor.shape[0];
  }
  for (const core::AdapterPair& pair : adapter.layout.pairs()) {
    if (pair.first_row > 0) {
      rows[pair.b] = pair.first_row;
    }
  }
  return rows;
}

/// "none", or the folders in `folder` that hold adapters: those of a run that trained several.
std::string folders_of_adapters(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code failure;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, failure)) {
    if (fs::exists(entry.path() / kConfigFile)) {
      names.push_back(entry.path().string());
    }
  }
  std::ranges::sort(names);
  return names.empty() ? "none" : fmt::format("none there, but in {}", fmt::join(names, ", "));
}

}  // namespace

Adapter load_adapter(const fs::path& folder, const core::TensorManifest& manifest,
                     const std::string& name) {
  SPARITY_CHECK_INPUT(fs::is_directory(folder),
                      fmt::format("{}: expected an adapter's folder", folder.string()));
  SPARITY_CHECK_INPUT(fs::exists(folder / kConfigFile),
                      fmt::format("{}: expected {}, found {}", folder.string(), kConfigFile,
                                  folders_of_adapters(folder)));
  const std::string source = (folder / kConfigFile).string();
  core::AdapterConfig config =
      core::read_adapter_config(core::read_json(folder / kConfigFile), source);
  core::AdapterLayout layout(config, manifest, source, core::Overlap::kFirstCounts);
  const core::SafetensorsFile file(folder / kTensorFile);
  check_names_and_shapes(file, layout);
  std::map<std::string, at::Tensor> tensors;
  for (const core::AdapterTensor& tensor : layout.tensors()) {
    tensors.emplace(tensor.name, read_widened(file, tensor.name));
  }
  return {name, std::move(config), std::move(layout), std::move(tensors)};
}

void save_adapter(const Adapter& adapter, const fs::path& folder) {
  const core::AdapterConfig written =
      core::config_for_peft(adapter.config, adapter.layout, folder.string());
  std::error_code failure;
  fs::create_directories(folder, failure);
  SPARITY_CHECK_INPUT(!failure,
                      fmt::format("{}: cannot create: {}", folder.string(), failure.message()));
  SPARITY_CHECK_INPUT(
      !fs::exists(folder / kConfigFile),
      fmt::format("{}: expected no adapter yet, found one", (folder / kConfigFile).string()));
  std::vector<at::Tensor> contiguous;  // keeps borrowed bytes alive
  std::vector<core::TensorBytes> tensors;
  for (const core::AdapterTensor& tensor : adapter.layout.tensors()) {
    contiguous.push_back(adapter.tensors.at(tensor.name).detach().contiguous());
    tensors.push_back({tensor.name, to_dtype(contiguous.back().scalar_type()), tensor.shape,
                       bytes_of(contiguous.back())});
  }
  core::write_safetensors(folder / kTensorFile, std::move(tensors), {{"format", "pt"}});
  // Last: a folder without it is no adapter.
  core::write_file_atomically(folder / kConfigFile, core::to_json(written).dump(2) + "\n");
}

Adapter seeded_adapter(const core::AdapterConfig& config, const core::TensorManifest& manifest,
                       const std::string& name, std::uint64_t seed, const std::string& source,
                       bool filled) {
  core::AdapterLayout layout(config, manifest, source);
  core::check_dropout(config, layout, source);
  std::map<std::string, at::Tensor> tensors;
  for (const core::AdapterTensor& tensor : layout.tensors()) {
    const core::RandomStream stream(seed, name_in_memory(tensor.name, name));
    tensors.emplace(tensor.name, drawn(tensor, config, stream, filled));
  }
  return {name, config, std::move(layout), std::move(tensors)};
}

std::string adapters_hash(const std::vector<Adapter>& adapters) {
  if (adapters.empty()) {
    return "none";
  }
  std::string parts;
  for (const Adapter& adapter : adapters) {
    for (const core::AdapterPair& pair : adapter.layout.pairs()) {
      parts += fmt::format("{} {} {:a} {}\n", pair.parameter, pair.a, pair.scaling, pair.expert);
    }
    for (const auto& [name, tensor] : adapter.tensors) {
      parts += fmt::format("{} {}\n", name,
                           core::sha256_hex(bytes_of(tensor.to(at::kFloat).contiguous())));
    }
  }
  constexpr std::size_t kDigits = 16;
  return core::sha256_hex(parts).substr(0, kDigits);
}

std::string name_in_memory(const std::string& file_name, const std::string& adapter) {
  constexpr std::string_view kEnd = ".weight";
  SPARITY_CHECK(file_name.ends_with(kEnd), fmt::format("{}: no adapter's tensor", file_name));
  return fmt::format("{}.{}{}", file_name.substr(0, file_name.size() - kEnd.size()), adapter, kEnd);
}

Adapter as_leaves(const Adapter& adapter, at::ScalarType type, bool trained) {
  Adapter leaves = adapter;
  for (auto& [name, tensor] : leaves.tensors) {
    tensor =
        tensor.detach().to(type, /*non_blocking=*/false, /*copy=*/true).requires_grad_(trained);
  }
  return leaves;
}

AdapterPairs pairs_of(const std::vector<Adapter>& adapters) {
  const at::AutoGradMode differentiable(true);  // views, whoever asks
  AdapterPairs pairs;
  for (const Adapter& adapter : adapters) {
    const std::map<std::string, std::int64_t> rows = rows_by_b(adapter);
    for (const core::AdapterPair& pair : adapter.layout.pairs()) {
      pairs[pair.parameter].push_back({own_a(pair, adapter.tensors.at(pair.a)),
                                       own_b(pair, adapter.tensors.at(pair.b), rows.at(pair.b)),
                                       pair.scaling, adapter.config.lora_dropout,
                                       fmt::format("{}/{}", adapter.name, pair.parameter)});
    }
  }
  return pairs;
}

at::Tensor dropout_mask(const LowRankPair& pair, const DropoutDraw& draw, at::IntArrayRef sizes) {
  const core::RandomStream stream(
      draw.seed, fmt::format("dropout/{}/{}/{}", draw.step, draw.micro_batch, pair.name));
  at::Tensor kept = at::empty(sizes, at::kBool);
  bool* out = kept.mutable_data_ptr<bool>();
  constexpr std::int64_t kGrain = 1 << 15;
  at::parallel_for(0, kept.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      out[i] = stream.uniform(static_cast<std::uint64_t>(i)) >= pair.dropout;
    }
  });
  return kept;
}

}  // namespace sparity::tensors
