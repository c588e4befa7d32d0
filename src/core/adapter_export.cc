#include "src/core/adapter_export.h"

#include "src/core/adapter_matching.h"
#include "src/core/error.h"
#include "src/core/expert_place.h"
#include "src/core/name_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace sparity::core {

namespace {

constexpr std::array<std::string_view, 3> kMatrices = {"gate_proj", "up_proj", "down_proj"};

/// How PEFT reaches a matrix in transformers' model.
enum class Kind {
  kModule,     // a linear module
  kParameter,  // a weight whose module's name PEFT takes for another
  kSeparate,   // one expert's, which PEFT stacks
  kStacked,    // in stacked experts
};

Kind kind_of(const AdapterPair& pair) {
  const std::string module = module_of(pair.parameter);
  if (lies_in_experts(module)) {
    return pair.a.find(module) == std::string::npos ? Kind::kStacked : Kind::kSeparate;
  }
  const std::string_view leaf = std::string_view(module).substr(module.rfind('.') + 1);
  const bool taken = leaf == "gate" || std::ranges::find(kMatrices, leaf) != kMatrices.end();
  return taken ? Kind::kParameter : Kind::kModule;
}

/// The ends, at a dot, of names that a shortened name must not mean.
class OtherNames {
 public:
  void add(const std::string& name) {
    for (std::string& end : dotted_ends(name)) {
      ends_.insert(std::move(end));
    }
  }

  /// The shortest end of `name` that is no end of another.
  std::string shortest(const std::string& name) const {
    const std::vector<std::string> ends = dotted_ends(name);
    const auto found = std::ranges::find_if(
        ends.rbegin(), ends.rend(), [&](const std::string& end) { return !ends_.contains(end); });
    SPARITY_CHECK(found != ends.rend(), fmt::format("{}: another has this name", name));
    return *found;
  }

 private:
  std::unordered_set<std::string> ends_;
};

/// A layer's experts that are adapted one by one, by matrix.
struct SeparateLayer {
  std::array<std::vector<const AdapterPair*>, 3> adapted;
  std::array<std::string, 3> missing;  // one expert's matrix that is not adapted
};

class Exporter {
 public:
  Exporter(const AdapterConfig& config, const AdapterLayout& layout, const std::string& source)
      : config_(config), layout_(layout), source_(source) {}

  AdapterConfig written() {
    refuse_dropout();
    sort_experts();
    for (const auto& [experts, layer] : separate_) {
      check_stackable(layer);
    }
    collect_sizes();
    AdapterConfig result = config_;
    result.exclude_modules = {};
    result.layers_to_transform.clear();
    result.layers_pattern.clear();
    result.target_modules = {module_names(), std::nullopt};
    result.target_parameters = parameter_names();
    result.rank_pattern = patterns<std::int64_t>(
        [&](const std::string& key, const AdapterSize& size) -> std::optional<std::int64_t> {
          return size.rank == parts_of(key) * config_.r ? std::nullopt : std::optional(size.rank);
        });
    result.alpha_pattern = patterns<double>(
        [&](const std::string& key, const AdapterSize& size) -> std::optional<double> {
          const double given = config_.lora_alpha * static_cast<double>(parts_of(key));
          const double divisor = divisor_of(size.rank);
          return given / divisor == size.scaling ? std::nullopt
                                                 : std::optional(alpha_of(size.scaling, divisor));
        });
    return result;
  }

 private:
  void refuse_dropout() const {
    for (const AdapterPair& pair : layout_.pairs()) {
      SPARITY_CHECK_INPUT(
          config_.lora_dropout == 0 || kind_of(pair) != Kind::kParameter,
          fmt::format("{}: /lora_dropout: expected 0 where {} is adapted (in transformers' model "
                      "PEFT adapts it as a parameter, without dropout), found {}",
                      source_, pair.parameter, config_.lora_dropout));
    }
  }

  static std::size_t matrix_of(const std::string& module) {
    const std::string_view leaf = std::string_view(module).substr(module.rfind('.') + 1);
    return static_cast<std::size_t>(std::ranges::find(kMatrices, leaf) - kMatrices.begin());
  }

  void sort_experts() {
    for (const AdapterPair& pair : layout_.pairs()) {
      if (kind_of(pair) == Kind::kSeparate) {
        const std::string module = module_of(pair.parameter);
        separate_[expert_place(module).experts].adapted.at(matrix_of(module)).push_back(&pair);
      }
    }
    for (const std::string& parameter : layout_.left_alone()) {
      const std::string module = module_of(parameter);
      const auto layer =
          lies_in_experts(module) ? separate_.find(expert_place(module).experts) : separate_.end();
      if (layer != separate_.end()) {
        layer->second.missing.at(matrix_of(module)) = parameter;
      }
    }
  }

  /// Throws unless PEFT can stack the layer's adapters as it loads them.
  void check_stackable(const SeparateLayer& layer) const {
    const auto refuse = [&](std::string_view expected, const std::string& found) {
      SPARITY_FAIL_INPUT(fmt::format(
          "{}: expected {}, which PEFT stacks as it loads them (or name gate_up_proj or down_proj "
          "in target_parameters), found {}",
          source_, expected, found));
    };
    const bool any_fused = !layer.adapted[0].empty() || !layer.adapted[1].empty();
    for (std::size_t i = 0; i < kMatrices.size(); ++i) {
      const bool expected = any_fused || !layer.adapted[i].empty();
      if (expected && !layer.missing[i].empty()) {
        const auto& some = layer.adapted[0].empty() ? layer.adapted[1] : layer.adapted[0];
        refuse(
            "experts adapted all alike, by gate_proj, up_proj and down_proj or by down_proj alone",
            fmt::format("{} without {}",
                        (some.empty() ? layer.adapted[2] : some).front()->parameter,
                        layer.missing[i]));
      }
    }
    const auto check_alike = [&](std::initializer_list<std::size_t> matrices) {
      const AdapterPair* first = nullptr;
      for (const std::size_t i : matrices) {
        for (const AdapterPair* pair : layer.adapted[i]) {
          first = first == nullptr ? pair : first;
          if (pair->rank != first->rank || pair->scaling != first->scaling) {
            refuse("one rank and one scaling for the experts' matrices",
                   fmt::format("{} of {} for {}, {} of {} for {}", first->rank, first->scaling,
                               first->parameter, pair->rank, pair->scaling, pair->parameter));
          }
        }
      }
    };
    check_alike({0, 1});
    check_alike({2});
  }

  /// 2 for what gate and up of separate experts become, else 1.
  std::int64_t parts_of(const std::string& key) const { return fused_.contains(key) ? 2 : 1; }

  double divisor_of(std::int64_t rank) const {
    const auto divisor = static_cast<double>(rank);
    return config_.use_rslora ? std::sqrt(divisor) : divisor;
  }

  /// The alpha whose quotient is `scaling` again, bit for bit where there is one; whole if it can
  /// be.
  static double alpha_of(double scaling, double divisor) {
    const double alpha = scaling * divisor;
    for (const double candidate :
         {std::round(alpha), alpha, std::nextafter(alpha, 0.0), std::nextafter(alpha, 2 * alpha)}) {
      if (candidate / divisor == scaling) {
        return candidate;
      }
    }
    return alpha;
  }

  /// Rank and scaling of everything that PEFT adapts, by the name that it has there.
  void collect_sizes() {
    for (const AdapterPair& pair : layout_.pairs()) {
      const Kind kind = kind_of(pair);
      const std::string module = module_of(pair.parameter);
      if (kind == Kind::kModule || kind == Kind::kParameter) {
        sizes_[kind == Kind::kModule ? module : pair.parameter] = {pair.rank, pair.scaling};
        continue;
      }
      const ExpertPlace place = expert_place(module);
      const bool doubled = kind == Kind::kSeparate && place.fused;
      sizes_[place.stacked] = {doubled ? 2 * pair.rank : pair.rank, pair.scaling};
      if (doubled) {
        fused_.insert(place.stacked);
      }
    }
  }

  std::vector<std::string> module_names() const {
    OtherNames others;
    for (const std::string& parameter : layout_.left_alone()) {
      others.add(module_of(parameter));
    }
    std::set<std::string> names;
    for (const AdapterPair& pair : layout_.pairs()) {
      const Kind kind = kind_of(pair);
      if (kind == Kind::kModule || kind == Kind::kSeparate) {
        names.insert(others.shortest(module_of(pair.parameter)));
      }
    }
    return {names.begin(), names.end()};
  }

  std::vector<std::string> parameter_names() const {
    OtherNames others;
    for (const std::string& parameter : layout_.left_alone()) {
      others.add(parameter);
      if (lies_in_experts(parameter)) {
        others.add(expert_place(module_of(parameter)).stacked);
      }
    }
    for (const AdapterPair& pair : layout_.pairs()) {
      const Kind kind = kind_of(pair);
      if (kind == Kind::kModule || kind == Kind::kSeparate) {
        others.add(pair.parameter);
      }
    }
    std::set<std::string> names;
    for (const AdapterPair& pair : layout_.pairs()) {
      if (kind_of(pair) == Kind::kParameter) {
        names.insert(others.shortest(pair.parameter));
      } else if (kind_of(pair) == Kind::kStacked) {
        names.insert(others.shortest(expert_place(module_of(pair.parameter)).stacked));
      }
    }
    return {names.begin(), names.end()};
  }

  /// A pattern for each of PEFT's names for which `wanted` gives a value, none of which matches a
  /// name that wants another.
  template <typename Value, typename Wanted>
  std::map<std::string, Value> patterns(const Wanted& wanted) const {
    std::map<std::optional<Value>, std::vector<std::string>> by_value;
    for (const auto& [name, size] : sizes_) {
      by_value[wanted(name, size)].push_back(name);
    }
    std::map<std::string, Value> result;
    for (const auto& [value, names] : by_value) {
      if (!value) {
        continue;
      }
      OtherNames others;
      for (const auto& [other_value, other_names] : by_value) {
        if (other_value != value) {
          std::ranges::for_each(other_names, [&](const std::string& name) { others.add(name); });
        }
      }
      for (const auto& [experts, layer] : separate_) {
        for (const auto& matrix : layer.adapted) {
          for (const AdapterPair* pair : matrix) {
            others.add(module_of(pair->parameter));
          }
        }
      }
      for (const std::string& name : names) {
        const std::string pattern = escape_pattern(others.shortest(name));
        // PEFT adds a pattern of its own for what it fuses, which must not come first: neither now
        // nor when it has written both in order, where a parenthesis comes before its ".*".
        result.emplace(fused_.contains(name) ? "(" + pattern + ")" : pattern, *value);
      }
    }
    return result;
  }

  const AdapterConfig& config_;
  const AdapterLayout& layout_;
  const std::string& source_;
  std::map<std::string, SeparateLayer> separate_;  // by "model.layers.1.mlp.experts"
  std::map<std::string, AdapterSize> sizes_;       // of what PEFT calls a target
  std::set<std::string> fused_;
};

}  // namespace

AdapterConfig config_for_peft(const AdapterConfig& config, const AdapterLayout& layout,
                              const std::string& source) {
  return Exporter(config, layout, source).written();
}

}  // namespace sparity::core
