#pragma once

#include "src/core/fault.h"

#include <string_view>

namespace sparity::runner {

/// C9 makes the suite `norm` die, C10 makes it hang: mistakes of a harness, not of a candidate.
inline bool is_harness_mistake(std::string_view id) { return id == "C9" || id == "C10"; }

/// Whether this build can plant what --fault names.
inline bool plantable(std::string_view id) {
  return is_harness_mistake(id) ? !core::fault_register().empty()
                                : core::fault_from_id(id).has_value();
}

}  // namespace sparity::runner
