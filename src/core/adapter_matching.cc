#include "src/core/adapter_matching.h"

#include "src/core/error.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <set>
#include <string_view>
#include <utility>

namespace sparity::core {

namespace {

/// The number that `text` starts with, where a dot follows it.
std::optional<std::int64_t> leading_number(std::string_view text) {
  std::int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  const bool whole = error == std::errc() && stopped != end && *stopped == '.';
  return whole && text.front() != '-' ? std::optional(number) : std::nullopt;
}

/// Levenshtein's.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t k = 0; k < b.size(); ++k) {
      const std::size_t replaced = diagonal + (a[i] == b[k] ? 0 : 1);
      diagonal = row[k + 1];
      row[k + 1] = std::min({replaced, diagonal + 1, row[k] + 1});
    }
  }
  return row.back();
}

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

/// Up to three of `candidates`, nearest to `wrong` first.
std::string nearest_of(const std::string& wrong, const std::set<std::string>& candidates,
                       std::size_t farthest) {
  std::vector<std::pair<std::size_t, std::string>> ranked;
  for (const std::string& candidate : candidates) {
    constexpr std::size_t kCutShort = 2;  // how far what was cut short counts as being
    const bool inside = last_part(candidate).find(last_part(wrong)) != std::string::npos;
    const std::size_t apart = edit_distance(last_part(wrong), last_part(candidate));
    const std::size_t distance = inside ? std::min(apart, kCutShort) : apart;
    if (distance <= farthest) {
      ranked.emplace_back(distance, candidate);
    }
  }
  std::ranges::sort(ranked);
  constexpr std::size_t kShown = 3;
  ranked.resize(std::min(ranked.size(), kShown));
  std::vector<std::string> names;
  for (const auto& [distance, name] : ranked) {
    names.push_back(name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

/// "<parent>.<child>" of every module right under one that is called `parent`.
std::set<std::string> children_of(const std::string& parent,
                                  const std::vector<std::string>& modules) {
  std::set<std::string> children;
  const std::string infix = "." + parent + ".";
  for (const std::string& module : modules) {
    const std::size_t at = ("." + module).find(infix);
    if (at != std::string::npos && module.find('.', at + infix.size() - 1) == std::string::npos) {
      children.insert(module.substr(at));
    }
  }
  return children;
}

}  // namespace

ModuleMatcher::ModuleMatcher(const ModuleNames& modules, std::string place)
    : place_(std::move(place)) {
  for (const std::string& name : modules.names) {
    names_.emplace(name, entries_.size());
    entries_.push_back({name});
  }
  if (modules.expression) {
    entries_.push_back({*modules.expression});
    expression_.emplace(*modules.expression, place_);
  }
}

ModuleMatcher::Match ModuleMatcher::match(const std::string& name) {
  if (expression_) {
    const bool matches = expression_->matches_whole(name);
    entries_.front().matched |= matches;
    return {matches, matches};
  }
  Match match;
  if (names_.empty()) {
    return match;
  }
  for (const std::string& end : dotted_ends(name)) {
    if (const auto found = names_.find(end); found != names_.end()) {
      entries_[found->second].matched = true;
      match.found = true;
      match.whole |= end.size() == name.size();
    }
  }
  return match;
}

void ModuleMatcher::count(const std::string& name) { mark(name, &EntryUse::counted); }

void ModuleMatcher::keep_out(const std::string& name) { mark(name, &EntryUse::kept_out); }

void ModuleMatcher::mark(const std::string& name, bool EntryUse::*mark) {
  if (expression_) {
    entries_.front().*mark = true;
    return;
  }
  for (const std::string& end : dotted_ends(name)) {
    if (const auto found = names_.find(end); found != names_.end()) {
      entries_[found->second].*mark = true;
    }
  }
}

LayerFilter::LayerFilter(const AdapterConfig& config, const std::string& source)
    : source_(source),
      patterns_(config.layers_pattern),
      used_patterns_(config.layers_pattern.size(), false) {
  for (const std::int64_t layer : config.layers_to_transform) {
    layers_.emplace(layer, false);
  }
}

std::optional<LayerFilter::Found> LayerFilter::find(const std::string& module) const {
  if (patterns_.empty()) {
    // A number needs two parts before it: "model.layers.3."
    for (std::size_t dot = module.find('.'); dot != std::string::npos;
         dot = module.find('.', dot + 1)) {
      const std::size_t next = module.find('.', dot + 1);
      const auto number = next == std::string::npos
                              ? std::nullopt
                              : leading_number(std::string_view(module).substr(next + 1));
      if (number) {
        return Found{0, *number};
      }
    }
    return std::nullopt;
  }
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    const std::string infix = "." + patterns_[i] + ".";
    const std::string dotted = "." + module;
    for (std::size_t at = dotted.find(infix); at != std::string::npos;
         at = dotted.find(infix, at + 1)) {
      if (const auto number = leading_number(std::string_view(dotted).substr(at + infix.size()))) {
        return Found{i, *number};
      }
    }
  }
  return std::nullopt;
}

bool LayerFilter::passes(const std::string& module) {
  const std::optional<Found> found = find(module);
  met_ = met_ || found.has_value();
  return found && layers_.contains(found->layer);
}

void LayerFilter::count(const std::string& module) {
  const std::optional<Found> found = find(module);
  if (found && layers_.contains(found->layer)) {
    layers_.at(found->layer) = true;
    if (!patterns_.empty()) {
      used_patterns_[found->pattern] = true;
    }
  }
}

bool LayerFilter::any_used() const {
  return std::ranges::any_of(layers_, [](const auto& layer) { return layer.second; });
}

std::vector<std::string> LayerFilter::unused() const {
  std::vector<std::string> complaints;
  const bool by_patterns = !patterns_.empty() && !met_;
  for (const auto& [layer, used] : layers_) {
    if (!used && !by_patterns) {
      complaints.push_back(
          fmt::format("{}: /layers_to_transform: expected layers of the model that "
                      "hold target_modules, found {}",
                      source_, layer));
    }
  }
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    if (!used_patterns_[i]) {
      complaints.push_back(
          fmt::format("{}: /layers_pattern/{}: expected what comes before a "
                      "layer's number (layers), found {}",
                      source_, i, quote(patterns_[i])));
    }
  }
  return complaints;
}

void PatternTable::add(const std::string& text, double value) {
  entries_.push_back({text});
  patterns_.emplace_back(text, place_ + pointer_step(text));
  values_.push_back(value);
}

std::optional<double> PatternTable::find(const std::string& name) {
  std::optional<std::size_t> first;
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    if (!patterns_[i].matches_end(name)) {
      continue;
    }
    entries_[i].matched = entries_[i].counted = true;
    SPARITY_CHECK_INPUT(
        !first || values_[*first] == values_[i] || overlap_ == Overlap::kFirstCounts,
        fmt::format("{}: expected one pattern for {}, found {} and {}, which differ", place_, name,
                    quote(entries_[first.value_or(i)].text), quote(entries_[i].text)));
    first = first ? first : i;
  }
  return first ? std::optional(values_[*first]) : std::nullopt;
}

std::vector<std::string> dotted_ends(const std::string& name) {
  std::vector<std::string> ends = {name};
  for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    ends.push_back(name.substr(dot + 1));
  }
  return ends;
}

std::string unused_entries(const std::vector<EntryUse>& entries, const std::string& place,
                           const std::vector<std::string>& names) {
  std::vector<std::string> complaints;
  for (const EntryUse& entry : entries) {
    if (entry.counted) {
      continue;
    }
    const std::string nearest = entry.matched ? "" : nearest_names(entry.text, names);
    complaints.push_back(
        entry.matched
            ? quote(entry.text) + " (only what exclude_modules or layers_to_transform leave out)"
        : nearest.empty() ? quote(entry.text)
                          : fmt::format("{} (nearest: {})", quote(entry.text), nearest));
  }
  if (complaints.empty()) {
    return "";
  }
  constexpr std::size_t kShown = 12;
  const std::size_t more = complaints.size() - std::min(complaints.size(), kShown);
  complaints.resize(complaints.size() - more);
  return fmt::format("{}: expected what matches something in this model, found {}{}", place,
                     fmt::join(complaints, ", "),
                     more > 0 ? fmt::format(" and {} more", more) : "");
}

std::string nearest_names(const std::string& wrong, const std::vector<std::string>& modules) {
  constexpr std::size_t kAnyDistance = 1000;
  if (const auto inside = children_of(wrong, modules); !inside.empty()) {
    return nearest_of(wrong, inside, kAnyDistance);
  }
  const std::size_t dot = wrong.rfind('.');
  if (dot != std::string::npos) {
    const auto siblings = children_of(wrong.substr(0, dot), modules);
    if (!siblings.empty()) {
      return nearest_of(wrong, siblings, kAnyDistance);
    }
  }
  std::set<std::string> last_parts;
  for (const std::string& module : modules) {
    last_parts.insert(last_part(module));
  }
  return nearest_of(wrong, last_parts, std::max<std::size_t>(2, last_part(wrong).size() / 2));
}

}  // namespace sparity::core
