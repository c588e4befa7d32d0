#include "suites/judge/conditions.h"

#include "suites/judge/error_stats.h"
#include "suites/judge/tolerances.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace sparity::judge {

namespace {

/// The rows of the table, one method per subject.
class Table {
 public:
  Table(const core::ModelConfig& config, const ExercisedFacts& facts, bool required)
      : config_(config), facts_(facts), required_(required) {}

  std::vector<Condition> rows() {
    add_selection();
    add_positions();
    add_routing();
    add_dimensions();
    add_parameters();
    add_attention();
    add_truths();
    return std::move(rows_);
  }

 private:
  void add(std::string name, bool exercised, std::string detail) {
    rows_.push_back({.name = std::move(name),
                     .exercised = exercised,
                     .required = required_,
                     .detail = std::move(detail)});
  }

  std::int64_t longest() const {
    return facts_.sequence_lengths.empty() ? 0 : std::ranges::max(facts_.sequence_lengths);
  }

  void add_selection() {
    if (facts_.sequence_lengths.empty()) {
      return;
    }
    double pairs = 0;
    double excluded = 0;
    for (const std::int64_t length : facts_.sequence_lengths) {
      const auto n = static_cast<double>(length);
      const auto over = static_cast<double>(std::max<std::int64_t>(0, length - config_.index_topk));
      pairs += n * (n + 1) / 2;
      // Query i sees i+1 keys and keeps index_topk of them.
      excluded += over * (over + 1) / 2;
    }
    const double share = pairs > 0 ? excluded / pairs : 0;
    add("sequence longer than index_topk", longest() > config_.index_topk,
        fmt::format("longest sequence {}, index_topk {}", longest(), config_.index_topk));
    add("a quarter of (query, key) pairs excluded by selection", share >= kExcludedPairs,
        fmt::format("{:.1f} % of causal pairs excluded", 100 * share));
    const bool unequal = facts_.sequence_lengths.size() >= 2 &&
                         std::ranges::min(facts_.sequence_lengths) != longest();
    if (facts_.distinct_tokens) {
      const double factor = widening(facts_.distinct_tokens);
      add("enough different tokens for the gates' own factors", factor == 1,
          fmt::format("{} different ids, factors times {:.3g}", *facts_.distinct_tokens, factor));
    }
    add("a batch of rows of different lengths", unequal,
        fmt::format("lengths {}", fmt::join(facts_.sequence_lengths, ", ")));
    if (facts_.baseline_flips) {
      add("the baseline flips selections", *facts_.baseline_flips > 0,
          fmt::format("{} flips", *facts_.baseline_flips));
    }
  }

  void add_positions() {
    const core::RopeParameters& rope = config_.rope_parameters;
    const bool yarn = rope.rope_type == core::RopeType::kYarn;
    if (!facts_.sequence_lengths.empty()) {
      add("YaRN live: longer than the original context",
          yarn && longest() > rope.original_max_position_embeddings,
          yarn ? fmt::format("longest sequence {}, original context {}", longest(),
                             rope.original_max_position_embeddings)
               : "rope type default");
    }
    const double slope = rope.mscale_all_dim.value_or(0);
    const double mscale = yarn && rope.factor > 1 ? 0.1 * slope * std::log(rope.factor) + 1 : 1;
    add("YaRN mscale scales the softmax", mscale != 1, fmt::format("mscale {:.6g}", mscale));
  }

  void add_routing() {
    if (std::ranges::find(config_.mlp_layer_types, core::MlpType::kSparse) ==
        config_.mlp_layer_types.end()) {
      add("mixture of experts", false, "no layer has experts");
      return;
    }
    add("expert groups limit the choice",
        config_.n_group > 1 && config_.topk_group < config_.n_group,
        fmt::format("{} of {} groups", config_.topk_group, config_.n_group));
    if (!facts_.tokens_per_expert.empty()) {
      add_load();
    }
    if (!facts_.selection_bias.empty()) {
      const auto [least, most] = std::ranges::minmax(facts_.selection_bias);
      add("selection bias varies and has negatives", least < 0 && most > least,
          fmt::format("from {:.4g} to {:.4g}", least, most));
    }
  }

  /// "Many" is twice what an even load would give.
  void add_load() {
    std::int64_t idle = 0;
    double busiest = 0;
    for (const std::vector<std::int64_t>& layer : facts_.tokens_per_expert) {
      double total = 0;
      std::int64_t most = 0;
      for (const std::int64_t tokens : layer) {
        idle += tokens == 0 ? 1 : 0;
        most = std::max(most, tokens);
        total += static_cast<double>(tokens);
      }
      if (total > 0) {
        busiest = std::max(busiest,
                           static_cast<double>(most) * static_cast<double>(layer.size()) / total);
      }
    }
    add("an expert without tokens", idle > 0, fmt::format("{} over all layers", idle));
    rows_.back().required = false;  // a matter of the drawn tokens; the suite `moe` leaves one idle
    add("an expert with many tokens", busiest >= 2,
        fmt::format("the busiest has {:.2f} times an even load", busiest));
  }

  /// Axes that stand beside each other in some tensor, so that a wrong one cannot broadcast.
  void add_dimensions() {
    std::map<std::int64_t, std::vector<std::string>> axes;
    axes[config_.vocab_size].emplace_back("vocabulary");
    axes[config_.hidden_size].emplace_back("hidden");
    axes[config_.intermediate_size].emplace_back("intermediate");
    axes[config_.moe_intermediate_size].emplace_back("expert intermediate");
    axes[config_.num_attention_heads].emplace_back("heads");
    axes[config_.q_lora_rank].emplace_back("query rank");
    axes[config_.kv_lora_rank].emplace_back("key rank");
    axes[config_.qk_nope_head_dim].emplace_back("nope");
    axes[config_.qk_rope_head_dim].emplace_back("rope");
    axes[config_.qk_head_dim()].emplace_back("head");
    axes[config_.v_head_dim].emplace_back("value");
    axes[config_.n_routed_experts].emplace_back("experts");
    axes[config_.index_n_heads].emplace_back("index heads");
    axes[config_.index_head_dim].emplace_back("index head");
    if (!facts_.sequence_lengths.empty()) {
      axes[longest()].emplace_back("sequence");
      axes[static_cast<std::int64_t>(facts_.sequence_lengths.size())].emplace_back("batch");
    }
    std::vector<std::string> equal;
    for (const auto& [size, names] : axes) {
      if (names.size() > 1) {
        equal.push_back(fmt::format("{} = {}", fmt::join(names, " = "), size));
      }
    }
    add("dimensions pairwise distinct", equal.empty(),
        equal.empty() ? fmt::format("{} different sizes", axes.size())
                      : fmt::format("{}", fmt::join(equal, "; ")));
  }

  void add_parameters() {
    add_parameters("norm gains differ from 1", facts_.norm_gains, 1.0);
    add_parameters("biases differ from 0", facts_.biases, 0.0);
  }

  /// The parameter that tells least decides: one that is `neutral` throughout could be left out.
  void add_parameters(const std::string& name, const std::vector<std::vector<double>>& parameters,
                      double neutral) {
    if (parameters.empty()) {
      return;
    }
    double least = 1;
    for (const std::vector<double>& values : parameters) {
      const auto differing = static_cast<double>(
          std::ranges::count_if(values, [&](double value) { return value != neutral; }));
      least = std::min(least, differing / static_cast<double>(values.size()));
    }
    add(name, least >= kTellingParameters,
        fmt::format("at least {:.1f} % of each of {} parameters", 100 * least, parameters.size()));
  }

  void add_attention() {
    if (facts_.entropy_shares.empty()) {
      return;
    }
    const auto inside = std::ranges::count_if(facts_.entropy_shares, [](double share) {
      return share >= kLowEntropy && share <= kHighEntropy;
    });
    const double part =
        static_cast<double>(inside) / static_cast<double>(facts_.entropy_shares.size());
    add("attention neither one-hot nor uniform", part >= kRowsInEntropyRange,
        fmt::format("{:.1f} % of rows have {} to {} of the largest entropy", 100 * part,
                    kLowEntropy, kHighEntropy));
  }

  void add_truths() {
    if (!facts_.truths.empty()) {
      std::vector<std::string> vacuous;
      for (const ExercisedFacts::TruthFact& truth : facts_.truths) {
        if (!(truth.rms > 0) || !std::isfinite(truth.rms) || truth.constant) {
          vacuous.push_back(truth.tensor);
        }
      }
      add("no truth tensor is zero or constant", vacuous.empty(),
          vacuous.empty() ? fmt::format("{} tensors", facts_.truths.size())
                          : fmt::format("{}", fmt::join(vacuous, ", ")));
    }
    if (facts_.comparisons) {
      add("as many comparisons as expected", *facts_.comparisons >= facts_.expected_comparisons,
          fmt::format("{} made, at least {} expected", *facts_.comparisons,
                      facts_.expected_comparisons));
    }
  }

  const core::ModelConfig& config_;
  const ExercisedFacts& facts_;
  bool required_;
  std::vector<Condition> rows_;
};

}  // namespace

std::vector<Condition> conditions_of(const core::ModelConfig& config, const ExercisedFacts& facts,
                                     bool required) {
  return Table(config, facts, required).rows();
}

ExercisedFacts::TruthFact truth_fact(std::string tensor, const Tensor& truth) {
  const bool constant =
      truth.values.size() > 1 &&
      std::ranges::adjacent_find(truth.values, std::ranges::not_equal_to()) == truth.values.end();
  return {.tensor = std::move(tensor), .rms = rms(truth.values), .constant = constant};
}

}  // namespace sparity::judge
