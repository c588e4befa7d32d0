#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::selftest {

/// What a scan of an HTML or XML document found.
struct Markup {
  std::string error;                    // the first thing that is not well-formed; empty when none
  std::vector<std::string> elements;    // names, in order of their start tags
  std::vector<std::string> ids;         // of id attributes, decoded
  std::set<std::string> fragments;      // targets of href="#…", decoded
  std::vector<std::string> attributes;  // "name=value" of every attribute, decoded
  std::string text;                     // of all elements but <style>, decoded
};

/// Checks that tags are closed in the order they were opened, attributes quoted and their names
/// unique within a tag, references known, and that no control character is left. <meta> and <br>
/// need no end tag; what <style> holds is skipped.
Markup scan_markup(std::string_view document);

}  // namespace sparity::selftest
