#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::core {

/// Strict, named access to the members of a JSON object. Nothing is converted: 3.0 and true are not
/// integers, 1 is not a boolean; an integer is a number. Every failure is exit code 5 with the
/// message "<source>: <JSON pointer>: expected …, found …". Members that nobody asked for are left
/// over for `unread`. The object must outlive this.
class JsonFields {
 public:
  /// Throws when `object` is not an object. `pointer` is where it stands in its document.
  JsonFields(const nlohmann::json& object, std::string source, std::string pointer = "");

  /// The member, now counted as read; null when absent.
  const nlohmann::json* find(std::string_view key);
  /// As `find`, but null for a JSON null too.
  const nlohmann::json* find_value(std::string_view key);

  /// The member, which must be an integer in [least, most]; `fallback` when absent.
  std::int64_t integer(std::string_view key, std::int64_t fallback, std::int64_t least,
                       std::int64_t most);
  /// The member, which must be a number in [least, most]; `fallback` when absent.
  double number(std::string_view key, double fallback, double least, double most);
  /// As `number`, for members that may be absent or null.
  std::optional<double> optional_number(std::string_view key, double least, double most);
  /// The member, which must be a string; nothing when absent.
  std::optional<std::string> text(std::string_view key);
  /// Refuses any value but `supported` where the member is present. A float may also be written as
  /// an integer, an integer only as itself.
  void require(std::string_view key, const nlohmann::json& supported);
  /// Refuses the member unless it is absent or null.
  void require_absent(std::string_view key, std::string_view expected);
  bool boolean(std::string_view key, bool fallback);

  /// Counts `keys` as read, whatever their values are.
  void ignore(std::span<const std::string_view> keys);
  /// Pointers of the members that were not read, in order.
  std::vector<std::string> unread() const;

  std::string pointer(std::string_view key) const;
  [[noreturn]] void fail(std::string_view key, std::string_view expected,
                         std::string_view found) const;

 private:
  const nlohmann::json& object_;
  std::string source_;
  std::string pointer_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace sparity::core
