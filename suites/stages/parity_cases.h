#pragma once

#include "suites/cases/case.h"

#include <vector>

namespace sparity::suites::stages {

/// One step and three steps of every stage over unequal micro-batches, against the reference's
/// trainer: losses, norms, rates, every parameter's first moment and the way that it moved,
/// routers' biases. Options in which a mistake shows: a KL coefficient, clipping that bites, decay,
/// two rates, an epsilon beside which AdamW's step is a smooth function of the gradient.
std::vector<cases::Case> parity_cases();

}  // namespace sparity::suites::stages
