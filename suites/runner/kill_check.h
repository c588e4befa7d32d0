#pragma once

#include "src/core/fault.h"
#include "suites/cases/suite_context.h"
#include "suites/runner/suite_list.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace sparity::runner {

/// What became of one planted fault.
struct Kill {
  core::FaultInfo fault;
  std::string dtype;
  bool killed = false;    // a numeric gate or check of the suite failed; crashes don't count
  bool located = false;   // and the first that failed is the tensor that the register names
  std::string case_name;  // where it failed first
  std::string tensor;
  std::string gate;
  double headroom = 0;  // lhs/rhs of that gate: how clearly it failed
};

/// Plants each of the register's faults that `suite` must kill, one after the other, and runs the
/// suite on each. Throws (exit code 6) when the suite fails without any fault, or has no fault to
/// kill.
std::vector<Kill> check_kills(const Suite& suite, const cases::SuiteContext& context);

nlohmann::json to_json(const Kill& kill);

}  // namespace sparity::runner
