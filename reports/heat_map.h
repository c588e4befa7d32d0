#pragma once

#include "suites/judge/record.h"

#include <string>

namespace sparity::reports {

/// An error map as inline SVG with title, description and legend, and its table twin: the largest
/// of at most 8 × 8 blocks. `id` is unique in the page. Colours run from dark blue (nothing) to
/// light blue (all that is allowed), and beyond from ochre to bright yellow, so that lightness
/// alone tells them; what is not finite is red. An empty or inconsistent map gives a sentence.
std::string heat_map_html(const judge::ErrorMap& map, const std::string& id,
                          const std::string& tensor);

}  // namespace sparity::reports
