#include "src/core/name_pattern.h"

#include "src/core/error.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>

#include <cctype>
#include <regex>

namespace sparity::core {

namespace {

constexpr std::size_t kMostBytes = 1000;
// An automaton of this many states is walked without running out of stack.
constexpr std::size_t kMostRepeatedBytes = 4000;

/// The length of the expression with every counted repetition written out, at least; nothing can
/// be larger than kMostRepeatedBytes + 1.
std::size_t repeated_bytes(std::string_view expression) {
  std::size_t factor = 1;
  for (std::size_t i = 0; i < expression.size(); ++i) {
    if (expression[i] != '{') {
      continue;
    }
    std::size_t largest = 1;
    std::size_t count = 0;
    for (std::size_t k = i + 1; k < expression.size() && expression[k] != '}'; ++k) {
      const bool digit = std::isdigit(static_cast<unsigned char>(expression[k])) != 0;
      count = digit ? std::min(kMostRepeatedBytes, 10 * count + (expression[k] - '0')) : 0;
      largest = std::max(largest, count);
    }
    factor = std::min(kMostRepeatedBytes + 1, factor * largest);
  }
  return std::min(kMostRepeatedBytes + 1, factor * expression.size());
}

std::regex compile(const std::string& expression, const std::string& place,
                   std::string_view written) {
  try {
    // Breadth first: an expression such as (a*)*b costs no exponential time.
    return std::regex(expression, std::regex::ECMAScript | std::regex_constants::__polynomial);
  } catch (const std::regex_error& error) {
    SPARITY_FAIL_INPUT(fmt::format("{}: expected a regular expression, found {} ({})", place,
                                   quote(written), error.what()));
  }
}

}  // namespace

struct NamePattern::Compiled {
  std::regex whole;
  std::regex end;
};

NamePattern::NamePattern(std::string_view expression, const std::string& place) {
  SPARITY_CHECK_INPUT(
      expression.size() <= kMostBytes && repeated_bytes(expression) <= kMostRepeatedBytes,
      fmt::format("{}: expected a regular expression of at most {} bytes, and of {} with its "
                  "counted repetitions written out, found {} bytes: {}",
                  place, kMostBytes, kMostRepeatedBytes, expression.size(), quote(expression)));
  const std::string text(expression);
  compiled_ = std::make_unique<const Compiled>(Compiled{
      compile(text, place, expression), compile("(?:.*\\.)?(?:" + text + ")", place, expression)});
}

NamePattern::~NamePattern() = default;
NamePattern::NamePattern(NamePattern&& other) noexcept = default;
NamePattern& NamePattern::operator=(NamePattern&& other) noexcept = default;

bool NamePattern::matches_whole(const std::string& name) const {
  return std::regex_match(name, compiled_->whole);
}

bool NamePattern::matches_end(const std::string& name) const {
  return std::regex_match(name, compiled_->end);
}

std::string escape_pattern(std::string_view name) {
  std::string escaped;
  for (const char letter : name) {
    if (std::isalnum(static_cast<unsigned char>(letter)) == 0 && letter != '_') {
      escaped += '\\';
    }
    escaped += letter;
  }
  return escaped;
}

}  // namespace sparity::core
