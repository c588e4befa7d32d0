#include "suites/cli/dump.h"

#include "src/core/error.h"
#include "src/core/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string_view>

namespace sparity::cli {

namespace {

/// Names within a layer, in the order in which they are computed (docs/naming.md).
constexpr std::array<std::string_view, 22> kLayerOrder = {
    "input_layernorm",
    "self_attn.q_a_layernorm",
    "self_attn.kv_a_layernorm",
    "self_attn.q",
    "self_attn.k_rot",
    "self_attn.indexer.q",
    "self_attn.indexer.k",
    "self_attn.indexer.weights",
    "self_attn.indexer.scores",
    "self_attn.indexer.topk_indices",
    "self_attn.indexer.kl_target",
    "self_attn.lse",
    "self_attn.attn_output",
    "self_attn",
    "post_attention_layernorm",
    "mlp.gate.scores",
    "mlp.gate.topk_indices",
    "mlp.gate.topk_weights",
    "mlp.experts",
    "mlp.shared_experts",
    "mlp",
    "",  // the layer's output
};

constexpr std::string_view kTraceGradient = "trace.grad.";

constexpr std::array<std::string_view, 4> kScalars = {"logits", "loss", "lm_loss", "kl_loss"};

judge::Tensor read_tensor(const core::SafetensorsFile& file, const std::string& name,
                          const core::TensorEntry& entry) {
  const bool widens = entry.dtype == core::Dtype::kBF16 || entry.dtype == core::Dtype::kF16;
  return {widens ? core::Dtype::kF32 : entry.dtype, entry.shape,
          core::widen(file.read(name), entry.dtype)};
}

}  // namespace

std::optional<std::string> recorded(const Dump& dump, const std::string& key) {
  const auto found = dump.metadata.find(key);
  return found == dump.metadata.end() ? std::nullopt : std::optional(found->second);
}

void refuse_metadata(const Dump& dump, std::string_view key, const std::string& expected,
                     const std::string& found) {
  SPARITY_FAIL_INPUT(
      fmt::format("{}: metadata '{}': expected {}, found {}", dump.path, key, expected, found));
}

Dump read_dump(const std::string& path) {
  const core::SafetensorsFile file(path);
  Dump dump{path, {}, file.metadata(), {}};
  for (const auto& [name, entry] : file.tensors()) {
    const bool known = name.starts_with("trace.") || name.starts_with("grad.") ||
                       std::ranges::find(kScalars, name) != kScalars.end();
    SPARITY_CHECK_INPUT(known,
                        fmt::format("{}: tensor '{}': expected logits, loss, lm_loss, kl_loss, "
                                    "trace.<name> or grad.<parameter>",
                                    path, name));
    dump.tensors.emplace(name, read_tensor(file, name, entry));
    dump.stored.emplace(name, entry.dtype);
  }
  SPARITY_CHECK_INPUT(!dump.tensors.empty(), fmt::format("{}: expected tensors, found none", path));
  return dump;
}

void fill_padding(judge::Tensor& tensor, const std::vector<bool>& rows, double value) {
  if (tensor.shape.size() < 2 || rows.empty() ||
      static_cast<std::size_t>(tensor.shape[0] * tensor.shape[1]) != rows.size()) {
    return;
  }
  const std::size_t width = tensor.values.size() / rows.size();
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (!rows[row]) {
      std::fill_n(tensor.values.begin() + static_cast<std::ptrdiff_t>(row * width), width, value);
    }
  }
}

bool is_choice(const std::string& name) { return name.ends_with(".topk_indices"); }

bool is_gradient(const std::string& name) {
  return name.starts_with("grad.") || name.starts_with(kTraceGradient);
}

std::pair<std::int64_t, int> execution_order(const std::string& name) {
  constexpr std::int64_t kAfterLayers = std::numeric_limits<std::int64_t>::max() / 2;
  constexpr std::int64_t kMostLayers = std::numeric_limits<std::int32_t>::max();
  constexpr int kParameters = 1000;
  if (name.starts_with(kTraceGradient)) {
    const auto [layer, place] = execution_order("trace." + name.substr(kTraceGradient.size()));
    return {2 * kAfterLayers - layer, -place};
  }
  if (is_gradient(name)) {
    return {2 * kAfterLayers + 1, kParameters};
  }
  constexpr std::string_view kLayers = "trace.layers.";
  if (name == "trace.embed_tokens") {
    return {-1, 0};
  }
  if (!name.starts_with(kLayers)) {
    const int place = name == "trace.norm" ? 0 : name == "trace.logits" || name == "logits" ? 1 : 2;
    return {kAfterLayers, place};
  }
  const std::string rest = name.substr(kLayers.size());
  const std::size_t dot = std::min(rest.find('.'), rest.size());
  std::int64_t layer = 0;
  const auto [stop, error] = std::from_chars(rest.data(), rest.data() + dot, layer);
  if (error != std::errc() || stop != rest.data() + dot || layer < 0 || layer > kMostLayers) {
    return {kAfterLayers, 2};  // no layer's name
  }
  const std::string part = dot == rest.size() ? "" : rest.substr(dot + 1);
  const auto found = std::ranges::find(kLayerOrder, part);
  return {layer, static_cast<int>(found - kLayerOrder.begin())};
}

}  // namespace sparity::cli
