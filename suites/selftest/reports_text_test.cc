#include "reports/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace sparity::reports {
namespace {

TEST(ReportText, SpellsOutWhatActsWithoutBeingSeen) {
  EXPECT_EQ(visible("a\x1b[31mb"), "a\\u{1B}[31mb");
  EXPECT_EQ(visible("a\xE2\x80\xAE"
                    "b"),
            "a\\u{202E}b");
  EXPECT_EQ(visible("a\xE2\x81\xA6"
                    "b"),
            "a\\u{2066}b");
  EXPECT_EQ(visible("a\xE2\x80\x8B"
                    "b"),
            "a\\u{200B}b");
  EXPECT_EQ(visible("\xEF\xBB\xBF"), "\\u{FEFF}");
  EXPECT_EQ(visible("\xF3\xA0\x81\x81"), "\\u{E0041}");
  EXPECT_EQ(visible("\xC2\x9B"), "\\u{9B}");
  EXPECT_EQ(visible(std::string_view("\0", 1)), "\\u{0}");
  EXPECT_EQ(visible("a\nb\tc"), "a\\u{A}b\\u{9}c");
  EXPECT_EQ(visible("a\nb\tc\r", Lines::kMany), "a\nb\tc\\u{D}");
}

TEST(ReportText, SpellsOutBytesThatAreNotUtf8) {
  EXPECT_EQ(visible("\xFF"), "\\xFF");
  EXPECT_EQ(visible("\xC3"), "\\xC3");
  EXPECT_EQ(visible("\xC0\xAF"), "\\xC0\\xAF");                    // overlong
  EXPECT_EQ(visible("\xED\xA0\x80"), "\\xED\\xA0\\x80");           // surrogate
  EXPECT_EQ(visible("\xF4\x90\x80\x80"), "\\xF4\\x90\\x80\\x80");  // beyond U+10FFFF
}

TEST(ReportText, LeavesOrdinaryLettersOfAnyScriptAlone) {
  EXPECT_EQ(visible("Größe ρ(c−t) 层 😀"), "Größe ρ(c−t) 层 😀");
}

TEST(ReportText, EscapesWhatMarkupGivesAMeaningTo) {
  EXPECT_EQ(escaped("<a href=\"x\">'&'</a>"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
}

TEST(ReportText, CutsBetweenCharactersAndSaysHowMuchThereWas) {
  std::string text;
  for (int count = 0; count < 1000; ++count) {
    text += "ρ";
  }
  const std::string cut = shortened(text, 21);
  EXPECT_EQ(visible(cut), cut);
  EXPECT_NE(cut.find("(2000 bytes)"), std::string::npos);
  EXPECT_EQ(shortened("short", 21), "short");
  EXPECT_LT(shortened(std::string(100'000, '\x80'), 40).size(), 80U);
}

TEST(ReportText, NamesNumbersThatAreNone) {
  EXPECT_EQ(number(std::nan("")), "not a number");
  EXPECT_EQ(number(HUGE_VAL), "infinite");
  EXPECT_EQ(number(-HUGE_VAL), "minus infinite");
  EXPECT_EQ(ratio(std::nan("")), "not a number");
  EXPECT_EQ(duration(std::nan("")), "unknown");
  EXPECT_EQ(duration(-1), "unknown");
}

TEST(ReportText, RoundsForReading) {
  EXPECT_EQ(number(0.000123456), "0.0001235");
  EXPECT_EQ(ratio(0.4127), "0.41");
  EXPECT_EQ(ratio(4200), "4200");
  EXPECT_EQ(ratio(0), "0.00");
  EXPECT_EQ(ratio(1e-9), "1.0e-09");
  EXPECT_EQ(duration(0.42), "0.42 s");
  EXPECT_EQ(duration(59.97), "1 min 00 s");
  EXPECT_EQ(duration(7500), "2 h 05 min");
  EXPECT_EQ(counted(1, "case"), "1 case");
  EXPECT_EQ(counted(0, "case"), "0 cases");
}

/// A headroom that rounds to 1.00 must not look like one that holds.
TEST(ReportText, RatioJustAboveOneIsTold) {
  EXPECT_NE(ratio(1.0000001), ratio(1.0));
  EXPECT_NE(ratio(0.9999999), ratio(1.0000001));
}

}  // namespace
}  // namespace sparity::reports
