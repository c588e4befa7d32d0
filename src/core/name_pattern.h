#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace sparity::core {

/// A regular expression for names of modules, in ECMAScript's syntax: matched in time that is
/// polynomial in its length, and bounded before it is compiled, so that a file's expression can
/// neither hang nor overflow this process. No back references.
class NamePattern {
 public:
  /// Throws (exit code 5, "<place>: expected …, found …") for what is no expression, or one that is
  /// longer than 1,000 bytes or repeats more than its bound.
  NamePattern(std::string_view expression, const std::string& place);
  ~NamePattern();
  NamePattern(NamePattern&& other) noexcept;
  NamePattern& operator=(NamePattern&& other) noexcept;

  /// Python's `re.fullmatch`.
  bool matches_whole(const std::string& name) const;
  /// The whole name, or all of it behind one of its dots: how `rank_pattern` is matched.
  bool matches_end(const std::string& name) const;

 private:
  struct Compiled;
  std::unique_ptr<const Compiled> compiled_;
};

/// `name` as an expression that means nothing else.
std::string escape_pattern(std::string_view name);

}  // namespace sparity::core
