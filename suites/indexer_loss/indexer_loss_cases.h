#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites {

/// The indexer's KL loss of one layer: target, rows, gradients, under every option (spec 4.2 to
/// 4.5). What it trains, and what it must not reach, is the suite training's subject.
std::vector<cases::Case> indexer_loss_cases();

}  // namespace sparity::suites
