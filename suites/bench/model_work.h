#pragma once

#include "src/core/dtype.h"
#include "src/core/forward_options.h"
#include "src/core/model_config.h"
#include "src/tensors/inputs.h"

#include <map>
#include <string>

namespace sparity::bench {

/// What an operation cannot do without, one way: flops of its matrix products, two a multiply-add,
/// and bytes of its operands, each read once, and of its results, each written once.
struct Work {
  double flops = 0;
  double bytes = 0;
};

struct OpWork {
  Work forward;
  Work backward;
};

/// By operation, as the model's profile scopes name them. N tokens, P visible and Q attended
/// (query, key) pairs, all of real tokens, per layer, flops forward:
///   attention projections  2·N·(D·Rq + Rq·H·Dqk + D·(Rkv + Dr) + H·Dv·D)
///   attention, sparse      2·N·H·Rkv·(Dn + Dv) + 2·Q·H·(2·Rkv + Dr)     in absorbed form
///   attention, dense       2·N·H·Rkv·(Dn + Dv) + 2·P·H·(Dqk + Dv)       in expanded form
///   indexer projections    2·N·(Rq·Hi·Di + D·Di + D·Hi)
///   index scores and top-k 2·P·Hi·Di
///   router                 2·N·D·E
///   routed experts         6·N·K·D·I;  shared experts 6·N·D·I·n_shared;  dense MLP 6·N·D·F
/// and once head 2·N·D·V; norms, rope, embedding, the sum of experts and the loss have no product.
/// A backward costs twice that, two products for each, except the indexer's, which has none.
/// Bytes are of elements of `dtype`, but logits and the head's weight of at least float32 and
/// chosen keys of int64: weights, whole inputs and whole results, nothing in between; where an
/// operation is several products in a row (projections), the operands and results of each. A
/// backward reads the operands again and the arriving gradient, and writes a gradient as large as
/// the operands; rope needs no operands, the sum of experts nothing at all. Whatever is computed
/// again is not counted.
std::map<std::string, OpWork> model_work(const core::ModelConfig& config,
                                         const tensors::Inputs& inputs,
                                         core::AttentionMode attention, core::Dtype dtype);

}  // namespace sparity::bench
