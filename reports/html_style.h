#pragma once

#include <string_view>

namespace sparity::reports {

/// The page's stylesheet: light and dark by the reader's preference, print, narrow screens. Text
/// colours have a contrast of at least 4.5 to 1 on every background they stand on.
std::string_view stylesheet();

}  // namespace sparity::reports
