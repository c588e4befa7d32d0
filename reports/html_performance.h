#pragma once

#include "reports/performance.h"

#include <optional>
#include <string>

namespace sparity::reports {

/// Performance figures as one self-contained page: ratios against transformers, seconds and share
/// of the roofline by operation, memory by phase. What was not measured has no section.
std::string performance_page(const Performance& performance);

/// Theirs over ours, or nothing where theirs was not measured.
struct Ratios {
  std::optional<double> plain;
  std::optional<double> tuned;
  std::optional<double> memory;  // of the smaller of theirs
};
Ratios ratios_of(const ComparedPass& pass);

}  // namespace sparity::reports
