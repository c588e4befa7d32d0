#include "src/core/strict_json.h"

#include "src/core/error.h"
#include "src/core/file_io.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace sparity::core {

namespace {

using Json = nlohmann::json;

/// Builds the document value by value, refusing what the library would let pass.
class StrictBuilder final : public nlohmann::json_sax<Json> {
 public:
  StrictBuilder(std::string_view text, const std::string& source, JsonLimits limits)
      : text_(text), source_(source), limits_(limits) {}

  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return add(value); }
  bool number_unsigned(std::uint64_t value) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }

  bool number_float(double value, const std::string& token) override {
    // The library falls back to a float for an integer beyond 64 bits.
    if (token.find_first_of(".eE") == std::string::npos) {
      fail(fmt::format("expected an integer of at most 64 bits, found {}", quote(token)));
    }
    return add(value);
  }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    Frame& frame = stack_.back();
    frame.key = std::move(name);
    if (frame.container->contains(frame.key)) {
      fail("expected unique keys, found this one twice");
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::detail::exception& error) override {
    const std::string_view before = text_.substr(0, position == 0 ? 0 : position - 1);
    const auto line = std::ranges::count(before, '\n') + 1;
    const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 = 0: the first line
    const bool out_of_range = error.id == 406;
    SPARITY_FAIL_INPUT(fmt::format(
        "{}: line {}, column {}: expected {}, found {}", source_, line,
        before.size() - line_start + 1,
        out_of_range ? "a number within the range of double" : "valid JSON", quote(token)));
  }

 private:
  struct Frame {
    Json* container = nullptr;
    std::string key;  // the member being read, in an object
  };

  [[noreturn]] void fail(const std::string& complaint) const {
    std::string pointer;
    for (const Frame& frame : stack_) {
      // An outer array already holds the container that is being read.
      const std::size_t index = frame.container->size() - (&frame == &stack_.back() ? 0 : 1);
      pointer += frame.container->is_object() ? pointer_step(frame.key) : fmt::format("/{}", index);
    }
    SPARITY_FAIL_INPUT(
        fmt::format("{}: {}: {}", source_, pointer.empty() ? "the value" : pointer, complaint));
  }

  Json* place(Json value) {
    if (++values_ > limits_.max_values) {
      fail(fmt::format("expected at most {} values, found more", limits_.max_values));
    }
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Frame& frame = stack_.back();
    if (frame.container->is_object()) {
      return &frame.container->emplace(frame.key, std::move(value)).first.value();
    }
    frame.container->push_back(std::move(value));
    return &frame.container->back();
  }

  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (stack_.size() >= limits_.max_depth) {
      fail(fmt::format("expected at most {} levels of nesting, found more", limits_.max_depth));
    }
    // Frames below stay put: only the innermost container grows.
    stack_.push_back({place(std::move(container)), {}});
    return true;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::string& source_;
  JsonLimits limits_;
  Json root_;
  std::vector<Frame> stack_;
  std::size_t values_ = 0;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& source, JsonLimits limits) {
  SPARITY_CHECK_INPUT(text.size() <= limits.max_bytes,
                      fmt::format("{}: expected at most {} bytes of JSON, found {}", source,
                                  limits.max_bytes, text.size()));
  // The library skips a byte order mark and takes a NUL for the end of the text.
  SPARITY_CHECK_INPUT(!text.starts_with("\xEF\xBB\xBF"),
                      fmt::format("{}: expected JSON, found a byte order mark", source));
  const std::size_t nul = text.find('\0');
  SPARITY_CHECK_INPUT(nul == std::string_view::npos,
                      fmt::format("{}: expected JSON, found a NUL at byte {}", source, nul));
  StrictBuilder builder(text, source, limits);
  SPARITY_CHECK(Json::sax_parse(text.begin(), text.end(), &builder),
                fmt::format("{}: the JSON parser gave up without a reason", source));
  return builder.take();
}

Json read_json(const std::filesystem::path& path, JsonLimits limits) {
  return parse_json(read_text_file(path, limits.max_bytes), path.string(), limits);
}

std::string quote(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  const std::string shown(text.substr(0, kLongest));
  std::string quoted = Json(shown).dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > kLongest) {
    quoted += fmt::format("… ({} bytes)", text.size());
  }
  return quoted;
}

std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::object:
      return fmt::format("an object of {}", value.size());
    case Json::value_t::array:
      return fmt::format("an array of {}", value.size());
    case Json::value_t::string:
      return quote(value.get_ref<const std::string&>());
    default:
      return value.dump();
  }
}

std::string pointer_step(std::string_view key) {
  const std::string quoted = quote(key);
  std::string step = "/";
  for (const char letter : quoted.substr(1)) {
    if (letter == '~' || letter == '/') {
      step += letter == '~' ? "~0" : "~1";
    } else if (letter != '"') {
      step += letter;
    }
  }
  return step;
}

}  // namespace sparity::core
