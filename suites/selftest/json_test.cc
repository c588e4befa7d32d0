#include "src/core/error.h"
#include "src/core/json_fields.h"
#include "src/core/strict_json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <functional>
#include <string>

namespace sparity::core {
namespace {

/// The message of the refusal, or "" when `text` is accepted.
std::string refusal(const std::string& text, JsonLimits limits = {}) {
  try {
    parse_json(text, "in.json", limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_TRUE(std::string(error.what()).starts_with("in.json: ")) << error.what();
    return error.what();
  }
  return "";
}

TEST(StrictJson, ReadsWhatTheLibraryReads) {
  const std::string text =
      R"( {"a": [1, -2, 0.5, true, false, null], "b": {"c": "\u00e9\n\ud83d\ude00"}, "": {}} )";
  EXPECT_EQ(parse_json(text, "in.json"), nlohmann::json::parse(text));
  EXPECT_EQ(parse_json("7", "in.json"), nlohmann::json(7));
  EXPECT_EQ(parse_json("\"\"", "in.json"), nlohmann::json(""));
}

TEST(StrictJson, KeepsTheKindOfEveryNumber) {
  const nlohmann::json json =
      parse_json("[18446744073709551615, -9223372036854775808, -0, 1.0, 1e3, 0]", "in.json");
  EXPECT_TRUE(json[0].is_number_unsigned());
  EXPECT_EQ(json[0].get<std::uint64_t>(), UINT64_MAX);
  EXPECT_EQ(json[1].get<std::int64_t>(), INT64_MIN);
  EXPECT_FALSE(json[2].is_number_unsigned());
  EXPECT_TRUE(json[3].is_number_float());
  EXPECT_TRUE(json[4].is_number_float());
  EXPECT_TRUE(json[5].is_number_unsigned());
}

TEST(StrictJson, RefusesWhatIsNotRfc8259) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{'a':1}",
                           "// c\n1",
                           "/* c */ 1",
                           "1 2",
                           "{}{}",
                           "{} x",
                           "NaN",
                           "Infinity",
                           "-Infinity",
                           "[nan]",
                           "01",
                           "+1",
                           ".5",
                           "1.",
                           "0x10",
                           "1e",
                           "\"\t\"",
                           "\"\\x41\"",
                           "\"\\ud800\"",
                           "\"\\udc00\\ud800\"",
                           "\"open",
                           "tru",
                           "[1}",
                           "{\"a\"}",
                           "{\"a\":}",
                           "\xEF\xBB\xBF{}",
                           "\"\xff\"",
                           "\"\xc0\xaf\"",
                           "\"\xed\xa0\x80\"",
                           "\xFE\xFF"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  EXPECT_NE(refusal(std::string("{}\0{}", 5)).find("NUL at byte 2"), std::string::npos);
  EXPECT_NE(refusal(std::string("\"a\0b\"", 5)), "");
}

TEST(StrictJson, RefusesNumbersBeyondTheirTypes) {
  for (const char* text : {"18446744073709551616", "-9223372036854775809", "[1e400]", "-1e400",
                           "123456789012345678901234567890"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
  EXPECT_EQ(refusal("1e-400"), "");  // underflow is a rounding, not an overflow
  EXPECT_EQ(refusal("18446744073709551616.0"), "");
}

TEST(StrictJson, NamesADuplicateKeyByItsPointer) {
  EXPECT_EQ(refusal(R"({"a": [0, {"b/c": 1, "b/c": 2}]})"),
            "in.json: /a/1/b~1c: expected unique keys, found this one twice");
  EXPECT_NE(refusal(R"({"a": 1, "\u0061": 2})"), "");  // equal once unescaped
  EXPECT_EQ(refusal(R"([{"a": 1}, {"a": 1}])"), "");
}

TEST(StrictJson, BoundsDepthBytesAndValues) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(refusal(nested(8)), "");
  EXPECT_NE(refusal(nested(9)).find("8 levels"), std::string::npos);
  EXPECT_NE(refusal(nested(1'000'000)).find("8 levels"), std::string::npos);
  EXPECT_NE(refusal(std::string(5'000'000, '[')), "");
  EXPECT_EQ(refusal("[1,2]", {.max_bytes = 5}), "");
  EXPECT_NE(refusal("[1,2]", {.max_bytes = 4}), "");
  EXPECT_EQ(refusal("[1,2]", {.max_values = 3}), "");
  EXPECT_NE(refusal("[1,2]", {.max_values = 2}).find("2 values"), std::string::npos);
}

TEST(StrictJson, SaysLineAndColumn) {
  EXPECT_EQ(refusal("{\"a\": 1,\n \"b\": }"),
            "in.json: line 2, column 7: expected valid JSON, found \"\\\"b\\\": }\"");
}

TEST(StrictJson, MessagesStayShortAndPlain) {
  const std::string hostile = refusal("{\"" + std::string(100'000, 'x') + "\xE2\x80\xAE\": }");
  EXPECT_LT(hostile.size(), 400U);
  for (const char letter : quote("a\x1b[31m\xE2\x80\xAE\xff\n")) {
    EXPECT_TRUE(letter >= ' ' && letter <= '~');
  }
  EXPECT_EQ(describe(parse_json("[1,[2]]", "")), "an array of 2");
  EXPECT_EQ(describe(parse_json("{\"a\":1}", "")), "an object of 1");
  EXPECT_EQ(describe(parse_json("1.0", "")), "1.0");
  EXPECT_EQ(pointer_step("a~/b"), "/a~0~1b");
}

std::string field_refusal(const std::function<void(JsonFields&)>& use) {
  const nlohmann::json object = parse_json(
      R"({"three": 3, "float": 3.0, "yes": true, "text": "x", "none": null, "minus": -1,
          "huge": 18446744073709551615})",
      "");
  JsonFields fields(object, "f.json", "/top");
  try {
    use(fields);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.what();
  }
  return "";
}

TEST(JsonFields, ConvertsNothing) {
  EXPECT_EQ(field_refusal([](auto& f) { f.integer("float", 0, 0, 9); }),
            "f.json: /top/float: expected an integer from 0 to 9, found 3.0");
  for (const char* key : {"yes", "text", "none", "minus", "huge"}) {
    EXPECT_NE(field_refusal([&](auto& f) { f.integer(key, 0, 0, INT64_MAX); }), "") << key;
  }
  for (const char* key : {"yes", "text", "none"}) {
    EXPECT_NE(field_refusal([&](auto& f) { f.number(key, 0, -9, 9); }), "") << key;
  }
  EXPECT_NE(field_refusal([](auto& f) { f.boolean("three", false); }), "");
  EXPECT_NE(field_refusal([](auto& f) { f.text("three"); }), "");
  EXPECT_NE(field_refusal([](auto& f) { f.require("text", "y"); }), "");
  EXPECT_NE(field_refusal([](auto& f) { f.require("yes", 1); }), "");
  EXPECT_NE(field_refusal([](auto& f) { f.require_absent("text", "nothing"); }), "");
}

TEST(JsonFields, ReadsAndCountsWhatItRead) {
  const nlohmann::json object = parse_json(R"({"a": 3, "b": 0.5, "c/d": 1, "e": null})", "");
  JsonFields fields(object, "f.json");
  EXPECT_EQ(fields.integer("a", 0, 3, 3), 3);
  EXPECT_EQ(fields.number("a", 0.0, 0.0, 9.0), 3.0);
  EXPECT_EQ(fields.optional_number("e", 0.0, 9.0), std::nullopt);
  EXPECT_EQ(fields.optional_number("b", 0.0, 9.0), 0.5);
  EXPECT_EQ(fields.integer("absent", 42, 0, 1), 42);
  EXPECT_EQ(fields.unread(), std::vector<std::string>{"/c~1d"});
  EXPECT_THROW(JsonFields(object["a"], "f.json"), Error);
}

}  // namespace
}  // namespace sparity::core
