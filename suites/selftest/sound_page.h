#pragma once

#include "suites/selftest/markup.h"

#include <string>

namespace sparity::selftest {

/// Expects of a page what every page owes, whatever it shows: well-formed, ids unique, links that
/// lead somewhere within it, no script, no request.
Markup expect_sound(const std::string& page);

}  // namespace sparity::selftest
