#include "src/core/adapter_layout.h"

#include "src/core/adapter_matching.h"
#include "src/core/error.h"
#include "src/core/expert_place.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

namespace sparity::core {

namespace {

constexpr std::string_view kWeight = ".weight";
constexpr std::string_view kPrefix = "base_model.model.";

bool is_linear(const ParameterSpec& parameter) {
  return parameter.shape.size() == 2 && parameter.role != ParameterRole::kEmbedding;
}

/// PEFT's word, in any case, for every linear module but the head.
bool means_all_linear(const ModuleNames& modules) {
  constexpr std::string_view kAllLinear = "all-linear";
  return modules.expression &&
         std::ranges::equal(*modules.expression, kAllLinear,
                            [](unsigned char a, unsigned char b) { return std::tolower(a) == b; });
}

ModuleNames all_linear(const TensorManifest& manifest) {
  ModuleNames modules;
  for (const ParameterSpec& parameter : manifest.parameters()) {
    if (is_linear(parameter) && parameter.role != ParameterRole::kHead) {
      modules.names.push_back(module_of(parameter.name));
    }
  }
  return modules;
}

/// What a layer's stacked experts are adapted by.
struct StackedLayer {
  std::optional<AdapterSize> gate_up;
  std::optional<AdapterSize> down;
  std::int64_t experts = 0;
  bool separate = false;  // some matrix of an expert is adapted by itself

  bool any() const { return gate_up || down; }
};

/// Builds a layout's lists.
class Planner {
 public:
  Planner(const AdapterConfig& config, const TensorManifest& manifest, const std::string& source,
          Overlap overlap)
      : config_(config),
        manifest_(manifest),
        source_(source),
        all_linear_(means_all_linear(config.target_modules)),
        targets_(all_linear_ ? all_linear(manifest) : config.target_modules,
                 source + ": /target_modules"),
        parameters_({config.target_parameters, std::nullopt}, source + ": /target_parameters"),
        excluded_(config.exclude_modules, source + ": /exclude_modules"),
        layers_(config, source),
        ranks_(config.rank_pattern, overlap, source + ": /rank_pattern"),
        alphas_(config.alpha_pattern, overlap, source + ": /alpha_pattern") {}

  void plan() {
    match_stacked();
    for (const ParameterSpec& parameter : manifest_.parameters()) {
      is_linear(parameter) ? plan_linear(parameter) : refuse_if_meant(parameter);
    }
    check_apart();
    check_all_used();
  }

  std::vector<AdapterPair> pairs;
  std::vector<AdapterTensor> tensors;
  std::vector<std::string> left_alone;

 private:
  /// Finds out what target_parameters say of each layer's stacked experts.
  void match_stacked() {
    for (const ParameterSpec& parameter : manifest_.parameters()) {
      if (parameter.role != ParameterRole::kExpert) {
        continue;
      }
      const ExpertPlace place = expert_place(module_of(parameter.name));
      StackedLayer& layer = stacked_[place.experts];
      layer.experts = std::max(layer.experts, place.expert + 1);
      if (place.expert == 0 && !place.second && parameters_.match(place.stacked).found) {
        parameters_.count(place.stacked);
        const AdapterSize size = size_of_target(place.stacked);
        (place.fused ? layer.gate_up : layer.down) = size;
      }
    }
  }

  void plan_linear(const ParameterSpec& parameter) {
    const std::string module = module_of(parameter.name);
    linear_modules_.push_back(module);
    const bool as_module = is_target(module);
    const bool as_parameter = parameters_.match(parameter.name).found;
    const bool is_expert = parameter.role == ParameterRole::kExpert;
    if (as_parameter) {
      parameters_.count(parameter.name);
    }
    if (as_module || as_parameter) {
      const AdapterSize size = as_parameter ? size_of_target(parameter.name)
                               : is_expert  ? size_of_expert(module)
                                            : size_of_target(module);
      if (is_expert) {
        stacked_.at(expert_place(module).experts).separate = true;
      }
      add_pair(parameter, module, size);
    } else if (!is_expert || !add_stacked(parameter, module)) {
      left_alone.push_back(parameter.name);
    }
  }

  /// PEFT's check of one module: excluded, named, in a layer to transform.
  bool is_target(const std::string& module) {
    const ModuleMatcher::Match match = targets_.match(module);
    if (excluded_.match(module).found) {
      excluded_.count(module);
      return false;
    }
    if (!match.found) {
      return false;
    }
    if (layers_.active() && !match.whole && !layers_.passes(module)) {
      targets_.keep_out(module);
      return false;
    }
    targets_.count(module);
    layers_.count(module);
    return true;
  }

  /// Refuses a target that is no linear weight.
  void refuse_if_meant(const ParameterSpec& parameter) {
    const std::string module = module_of(parameter.name);
    const bool excluded = excluded_.match(module).found;
    if (excluded) {
      excluded_.count(module);
    }
    // A router's bias is no module: its gate is adapted by its weight.
    const bool is_module = parameter.role != ParameterRole::kRouterBias;
    const ModuleMatcher::Match match = is_module ? targets_.match(module) : ModuleMatcher::Match{};
    SPARITY_CHECK_INPUT(
        excluded || !match.found || (layers_.active() && !match.whole && !layers_.passes(module)),
        fmt::format("{}: expected linear modules, found one that means {}, which is none (an "
                    "embedding or a norm cannot be adapted)",
                    targets_.place(), module));
    SPARITY_CHECK_INPUT(
        !parameters_.match(parameter.name).found,
        fmt::format("{}: expected linear weights, found one that means {}, which is none",
                    parameters_.place(), parameter.name));
  }

  double scaling_of(double alpha, std::int64_t rank) const {
    const auto divisor = static_cast<double>(rank);
    return alpha / (config_.use_rslora ? std::sqrt(divisor) : divisor);
  }

  /// Of a module or parameter under its own name.
  AdapterSize size_of_target(const std::string& name) {
    const auto rank =
        static_cast<std::int64_t>(ranks_.find(name).value_or(static_cast<double>(config_.r)));
    return {rank, scaling_of(alphas_.find(name).value_or(config_.lora_alpha), rank)};
  }

  /// Of an expert's module. PEFT stacks separate experts as it loads them, so that a pattern for
  /// the stacked parameter says what they have together: gate and up twice the rank of each.
  AdapterSize size_of_expert(const std::string& module) {
    const ExpertPlace place = expert_place(module);
    const auto own_rank = ranks_.find(module);
    const auto own_alpha = alphas_.find(module);
    const auto stacked_rank = own_rank ? std::nullopt : ranks_.find(place.stacked);
    const auto stacked_alpha = own_alpha ? std::nullopt : alphas_.find(place.stacked);
    const std::int64_t parts = place.fused ? 2 : 1;
    auto rank = static_cast<std::int64_t>(own_rank.value_or(static_cast<double>(config_.r)));
    if (stacked_rank) {
      rank = static_cast<std::int64_t>(*stacked_rank);
      SPARITY_CHECK_INPUT(rank % parts == 0,
                          fmt::format("{}: expected an even rank for {}, which gate_proj and "
                                      "up_proj share, found {}",
                                      ranks_.place(), place.stacked, rank));
      rank /= parts;
    }
    if (stacked_alpha) {
      return {rank, scaling_of(*stacked_alpha, rank * parts)};
    }
    return {rank, scaling_of(own_alpha.value_or(config_.lora_alpha), rank)};
  }

  void add_pair(const ParameterSpec& parameter, const std::string& module,
                const AdapterSize& size) {
    const std::string stem = std::string(kPrefix) + module;
    AdapterPair pair{parameter.name, stem + ".lora_A.weight", stem + ".lora_B.weight", size.rank,
                     size.scaling};
    add_tensors(pair, {size.rank, parameter.shape[1]}, {parameter.shape[0], size.rank},
                parameter.role);
    pairs.push_back(std::move(pair));
  }

  /// A pair in a layer's stacked experts, if that layer's are adapted so.
  bool add_stacked(const ParameterSpec& parameter, const std::string& module) {
    const ExpertPlace place = expert_place(module);
    const StackedLayer& layer = stacked_.at(place.experts);
    const std::optional<AdapterSize>& size = place.fused ? layer.gate_up : layer.down;
    if (!size) {
      return false;
    }
    // PEFT wraps the experts once for each parameter; the first, gate_up_proj, ends up inside.
    const bool inside = place.fused && layer.down.has_value();
    const std::string stem = std::string(kPrefix) + place.experts + (inside ? ".base_layer" : "");
    AdapterPair pair{parameter.name,
                     stem + ".lora_A.weight",
                     stem + ".lora_B.weight",
                     size->rank,
                     size->scaling,
                     layer.experts,
                     place.expert,
                     place.second ? parameter.shape[0] : 0};
    const std::int64_t ranks = size->rank * layer.experts;
    const std::int64_t rows = (place.fused ? 2 : 1) * parameter.shape[0];
    add_tensors(pair, {ranks, parameter.shape[1]}, {rows, ranks}, parameter.role);
    pairs.push_back(std::move(pair));
    return true;
  }

  void add_tensors(const AdapterPair& pair, std::vector<std::int64_t> a,
                   std::vector<std::int64_t> b, ParameterRole role) {
    if (known_tensors_.insert(pair.a).second) {
      tensors.push_back({pair.a, std::move(a), true, pair.rank, role});
      tensors.push_back({pair.b, std::move(b), false, pair.rank, role});
    }
  }

  void check_apart() const {
    for (const auto& [experts, layer] : stacked_) {
      SPARITY_CHECK_INPUT(
          !(layer.separate && layer.any()),
          fmt::format("{}: /target_parameters: expected the experts of {} adapted either stacked "
                      "or one by one, found both",
                      source_, experts));
    }
  }

  /// PEFT is silent about most of these: all are named at once.
  void check_all_used() {
    const std::vector<std::string> adapted = adapted_modules();
    std::vector<std::string> complaints =
        layers_.active() ? layers_.unused() : std::vector<std::string>{};
    // Where no layer lets anything through, what it kept from target_modules is no fault of theirs.
    std::vector<EntryUse> targets = targets_.entries();
    if (layers_.active() && !layers_.any_used()) {
      std::erase_if(targets, [](const EntryUse& entry) { return entry.kept_out; });
    }
    if (!all_linear_) {
      complaints.push_back(unused_entries(targets, targets_.place(), linear_modules_));
    }
    complaints.push_back(
        unused_entries(parameters_.entries(), parameters_.place(), parameter_names()));
    complaints.push_back(unused_entries(excluded_.entries(), excluded_.place(), linear_modules_));
    complaints.push_back(unused_entries(ranks_.entries(), ranks_.place(), adapted));
    complaints.push_back(unused_entries(alphas_.entries(), alphas_.place(), adapted));
    std::erase(complaints, "");
    SPARITY_CHECK_INPUT(complaints.empty(), fmt::format("{}", fmt::join(complaints, "; ")));
    SPARITY_CHECK_INPUT(!adapted.empty(), fmt::format("{}: expected modules to adapt, found none "
                                                      "that /exclude_modules leaves",
                                                      targets_.place()));
  }

  std::vector<std::string> parameter_names() const {
    std::vector<std::string> names;
    for (const std::string& module : linear_modules_) {
      names.push_back(module + std::string(kWeight));
    }
    for (const auto& [experts, layer] : stacked_) {
      names.push_back(experts + ".gate_up_proj");
      names.push_back(experts + ".down_proj");
    }
    return names;
  }

  std::vector<std::string> adapted_modules() const {
    std::vector<std::string> names;
    for (const AdapterPair& pair : pairs) {
      names.push_back(module_of(pair.parameter));
    }
    return names;
  }

  const AdapterConfig& config_;
  const TensorManifest& manifest_;
  const std::string& source_;
  bool all_linear_;
  ModuleMatcher targets_;
  ModuleMatcher parameters_;
  ModuleMatcher excluded_;
  LayerFilter layers_;
  PatternTable ranks_;
  PatternTable alphas_;
  std::map<std::string, StackedLayer> stacked_;  // by "model.layers.1.mlp.experts"
  std::vector<std::string> linear_modules_;
  std::set<std::string> known_tensors_;
};

}  // namespace

std::int64_t AdapterTensor::numel() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

AdapterLayout::AdapterLayout(const AdapterConfig& config, const TensorManifest& manifest,
                             const std::string& source, Overlap overlap) {
  Planner planner(config, manifest, source, overlap);
  planner.plan();
  pairs_ = std::move(planner.pairs);
  tensors_ = std::move(planner.tensors);
  left_alone_ = std::move(planner.left_alone);
}

void check_dropout(const AdapterConfig& config, const AdapterLayout& layout,
                   const std::string& source) {
  for (const AdapterPair& pair : layout.pairs()) {
    const bool before_input = pair.parameter.ends_with(".kv_b_proj.weight") ||
                              pair.parameter.find(".mlp.experts.") != std::string::npos;
    SPARITY_CHECK_INPUT(
        config.lora_dropout == 0 || !before_input,
        fmt::format("{}: /lora_dropout: expected 0 where {} is adapted, whose weight is changed "
                    "before it sees an input, found {}",
                    source, pair.parameter, config.lora_dropout));
  }
}

std::int64_t AdapterLayout::parameter_count() const {
  std::int64_t count = 0;
  for (const AdapterTensor& tensor : tensors_) {
    count += tensor.numel();
  }
  return count;
}

}  // namespace sparity::core
