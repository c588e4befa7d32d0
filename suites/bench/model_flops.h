#pragma once

#include "src/core/forward_options.h"
#include "src/core/model_config.h"
#include "src/tensors/inputs.h"

#include <map>
#include <string>

namespace sparity::bench {

/// Work of the matrix products that an operation cannot do without, two flops a multiply-add.
struct OpFlops {
  double forward = 0;
  double backward = 0;
};

/// By operation, as the model's profile scopes name them; operations without a matrix product are
/// absent. N tokens, P visible and Q attended (query, key) pairs, all of real tokens, per layer:
///   attention projections  2·N·(D·Rq + Rq·H·Dqk + D·(Rkv + Dr) + H·Dv·D)
///   attention, sparse      2·N·H·Rkv·(Dn + Dv) + 2·Q·H·(2·Rkv + Dr)     in absorbed form
///   attention, dense       2·N·H·Rkv·(Dn + Dv) + 2·P·H·(Dqk + Dv)       in expanded form
///   indexer projections    2·N·(Rq·Hi·Di + D·Di + D·Hi)
///   index scores and top-k 2·P·Hi·Di
///   router                 2·N·D·E
///   routed experts         6·N·K·D·I;  shared experts 6·N·D·I·n_shared;  dense MLP 6·N·D·F
/// and once head 2·N·D·V. A backward costs twice that, two products for each, except the indexer's,
/// which has none. Whatever is computed again is not counted.
std::map<std::string, OpFlops> model_flops(const core::ModelConfig& config,
                                           const tensors::Inputs& inputs,
                                           core::AttentionMode attention);

}  // namespace sparity::bench
