#pragma once

#include "src/core/adapter_config.h"
#include "src/core/name_pattern.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace sparity::core {

/// What an entry of a configuration met while modules were matched against it.
struct EntryUse {
  std::string text;
  bool matched = false;   // some name
  bool counted = false;   // some name that was adapted in the end, or left out where that is meant
  bool kept_out = false;  // some name that layers_to_transform left out
};

/// A ModuleNames as PEFT matches it, which remembers what each of its entries met.
class ModuleMatcher {
 public:
  /// `place` is "<source>: <pointer>".
  ModuleMatcher(const ModuleNames& modules, std::string place);

  struct Match {
    bool found = false;
    bool whole = false;  // by its whole name: layers_to_transform does not count then
  };
  Match match(const std::string& name);
  /// Says that what `name` matched has counted.
  void count(const std::string& name);
  /// Says that the layers to transform left out what `name` matched.
  void keep_out(const std::string& name);

  const std::vector<EntryUse>& entries() const { return entries_; }
  const std::string& place() const { return place_; }

 private:
  void mark(const std::string& name, bool EntryUse::*mark);

  std::string place_;
  std::vector<EntryUse> entries_;  // the names, or the expression alone
  std::unordered_map<std::string, std::size_t> names_;
  std::optional<NamePattern> expression_;
};

/// `layers_to_transform` and `layers_pattern`.
class LayerFilter {
 public:
  LayerFilter(const AdapterConfig& config, const std::string& source);

  bool active() const { return !layers_.empty(); }
  /// True where the first number of `module` that stands behind one of the patterns is a layer to
  /// transform.
  bool passes(const std::string& module);
  /// Says that `module` has been adapted.
  void count(const std::string& module);
  /// True where some module was adapted by its layer.
  bool any_used() const;
  /// A complaint of each layer and each pattern that nothing was adapted by; of patterns alone
  /// where none stands before a number in what was asked for.
  std::vector<std::string> unused() const;

 private:
  struct Found {
    std::size_t pattern = 0;
    std::int64_t layer = 0;
  };
  std::optional<Found> find(const std::string& module) const;

  std::string source_;
  std::vector<std::string> patterns_;
  std::map<std::int64_t, bool> layers_;  // and whether it was used
  std::vector<bool> used_patterns_;
  bool met_ = false;  // some module that `passes` was asked for has a layer's number
};

/// `rank_pattern` or `alpha_pattern`.
class PatternTable {
 public:
  template <typename Value>
  PatternTable(const std::map<std::string, Value>& patterns, Overlap overlap,
               const std::string& place)
      : place_(place), overlap_(overlap) {
    for (const auto& [text, value] : patterns) {
      add(text, static_cast<double>(value));
    }
  }

  /// The value of the pattern that matches `name` as PEFT has it: the first in order. Throws (exit
  /// code 5) where several do and differ, unless `overlap` lets them.
  std::optional<double> find(const std::string& name);
  const std::vector<EntryUse>& entries() const { return entries_; }
  const std::string& place() const { return place_; }

 private:
  void add(const std::string& text, double value);

  std::string place_;
  Overlap overlap_;
  std::vector<EntryUse> entries_;
  std::vector<NamePattern> patterns_;
  std::vector<double> values_;
};

/// `name`, and all of it behind each of its dots, longest first.
std::vector<std::string> dotted_ends(const std::string& name);

/// One complaint, starting with `place`, of all entries that do not count, with the nearest of
/// `names`; empty where all count.
std::string unused_entries(const std::vector<EntryUse>& entries, const std::string& place,
                           const std::vector<std::string>& names);

/// The names of `modules` that somebody who wrote `wrong` may have meant: "a, b, c", nearest first;
/// empty where none comes near.
std::string nearest_names(const std::string& wrong, const std::vector<std::string>& modules);

}  // namespace sparity::core
