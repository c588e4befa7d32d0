#include "suites/selftest/sound_page.h"

#include <gtest/gtest.h>

#include <set>
#include <string_view>

namespace sparity::selftest {

Markup expect_sound(const std::string& page) {
  Markup markup = scan_markup(page);
  EXPECT_EQ(markup.error, "");
  const std::set<std::string> ids(markup.ids.begin(), markup.ids.end());
  EXPECT_EQ(ids.size(), markup.ids.size()) << "an id is used twice";
  for (const std::string& fragment : markup.fragments) {
    EXPECT_TRUE(ids.contains(fragment)) << "a link leads nowhere: #" << fragment;
  }
  const std::set<std::string> elements(markup.elements.begin(), markup.elements.end());
  for (const char* element : {"script", "link", "img", "iframe", "object", "form"}) {
    EXPECT_FALSE(elements.contains(element)) << element;
  }
  for (const std::string& attribute : markup.attributes) {
    EXPECT_NE(attribute.substr(0, 2), "on") << attribute;
    EXPECT_FALSE(attribute.starts_with("href=") && !attribute.starts_with("href=#")) << attribute;
    EXPECT_FALSE(attribute.starts_with("src=")) << attribute;
    if (attribute.starts_with("aria-labelledby=")) {
      const std::string both = attribute.substr(std::string_view("aria-labelledby=").size());
      EXPECT_TRUE(ids.contains(both.substr(0, both.find(' ')))) << attribute;
      EXPECT_TRUE(ids.contains(both.substr(both.find(' ') + 1))) << attribute;
    }
  }
  for (const std::string_view forbidden : {"http://", "https://", "url(", "@import"}) {
    EXPECT_FALSE(page.find(forbidden) != std::string::npos) << forbidden;
  }
  return markup;
}

}  // namespace sparity::selftest
