#pragma once

#include <string_view>

namespace sparity::suites::training {

/// fixtures/text/declaration.txt, compiled into the program: 8054 bytes below 128, each a token's
/// id.
std::string_view declaration_text();

}  // namespace sparity::suites::training
