#include "suites/selftest/markup.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace sparity::selftest {

namespace {

constexpr std::array<std::pair<std::string_view, char>, 5> kReferences = {
    {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&#39;", '\''}}};

bool is_name(char letter) {
  return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '-' || letter == '_' ||
         letter == ':';
}

class Scanner {
 public:
  explicit Scanner(std::string_view document) : rest_(document) {}

  Markup scan() {
    for (const char letter : rest_) {
      const auto code = static_cast<unsigned char>(letter);
      if ((code < 0x20 && letter != '\n' && letter != '\t') || code == 0x7F) {
        fail("a control character");
      }
    }
    while (!rest_.empty() && found_.error.empty()) {
      if (rest_.front() == '<') {
        tag();
      } else {
        const std::string_view raw = take(rest_.find('<'));
        found_.text += decoded(raw);
      }
    }
    if (!open_.empty()) {
      fail("<" + open_.back() + "> left open");
    }
    return std::move(found_);
  }

 private:
  void fail(const std::string& what) {
    if (found_.error.empty()) {
      found_.error = what + " before " + std::string(rest_.substr(0, 60));
    }
  }

  std::string_view take(std::size_t count) {
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(taken.size());
    return taken;
  }

  std::string_view take_name() {
    return take(static_cast<std::size_t>(std::ranges::find_if_not(rest_, is_name) - rest_.begin()));
  }

  std::string decoded(std::string_view raw) {
    std::string out;
    while (!raw.empty()) {
      if (raw.front() == '>' || raw.front() == '<') {
        fail("a bare angle bracket in text");
      }
      if (raw.front() != '&') {
        out += raw.front();
        raw.remove_prefix(1);
        continue;
      }
      const auto known = std::ranges::find_if(
          kReferences, [&](const auto& each) { return raw.starts_with(each.first); });
      if (known == kReferences.end()) {
        fail("an unknown reference " + std::string(raw.substr(0, 12)));
        return out;
      }
      out += known->second;
      raw.remove_prefix(known->first.size());
    }
    return out;
  }

  void tag() {
    if (rest_.starts_with("<!doctype html>") || rest_.starts_with("<?xml ")) {
      take(rest_.find('>') + 1);
      return;
    }
    take(1);
    if (rest_.starts_with("/")) {
      end_tag();
      return;
    }
    const std::string name(take_name());
    if (name.empty()) {
      fail("a bare <");
      return;
    }
    found_.elements.push_back(name);
    attributes();
    const bool closed = rest_.starts_with("/>");
    if (!closed && !rest_.starts_with(">")) {
      fail("a start tag of " + name + " that does not end");
      return;
    }
    take(closed ? 2 : 1);
    if (name == "style") {
      take(rest_.find("</style>"));
    }
    if (!closed && name != "meta" && name != "br") {
      open_.push_back(name);
    }
  }

  void end_tag() {
    take(1);
    const std::string name(take_name());
    if (open_.empty() || open_.back() != name || !rest_.starts_with(">")) {
      fail("</" + name + "> while " + (open_.empty() ? "nothing" : open_.back()) + " is open");
      return;
    }
    open_.pop_back();
    take(1);
  }

  void attributes() {
    std::set<std::string> names;
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_.front())) != 0) {
      take(1);
      const std::string name(take_name());
      if (name.empty() || !names.insert(name).second) {
        fail("an attribute without a name, or twice: " + name);
        return;
      }
      if (!rest_.starts_with("=")) {
        found_.attributes.push_back(name);  // "open" of <details>
        continue;
      }
      if (!rest_.starts_with("=\"")) {
        fail("an attribute that is not quoted: " + name);
        return;
      }
      take(2);
      const std::string value = decoded(take(rest_.find('"')));
      take(1);
      found_.attributes.push_back(name + "=" + value);
      if (name == "id") {
        found_.ids.push_back(value);
      } else if (name == "href" && value.starts_with("#")) {
        found_.fragments.insert(value.substr(1));
      }
    }
  }

  std::string_view rest_;
  std::vector<std::string> open_;
  Markup found_;
};

}  // namespace

Markup scan_markup(std::string_view document) { return Scanner(document).scan(); }

}  // namespace sparity::selftest
