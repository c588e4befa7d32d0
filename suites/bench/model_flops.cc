#include "suites/bench/model_flops.h"

#include "src/core/error.h"

#include <algorithm>

namespace sparity::bench {

namespace {

/// What the products of a pass are counted over.
struct Extent {
  double tokens = 0;    // N
  double visible = 0;   // P
  double selected = 0;  // at most index_topk of each query's
};

Extent extent_of(const core::ModelConfig& config, const tensors::Inputs& inputs) {
  SPARITY_CHECK_INPUT(!inputs.pair_mask.defined(),
                      "bench: attention masks by pairs are not counted; expected [B, S]");
  Extent extent;
  const at::Tensor mask = inputs.token_mask.contiguous();
  const bool* token = mask.const_data_ptr<bool>();
  for (std::int64_t row = 0; row < mask.size(0); ++row) {
    std::int64_t visible = 0;
    for (std::int64_t i = 0; i < mask.size(1); ++i) {
      if (!token[row * mask.size(1) + i]) {
        continue;
      }
      ++visible;
      extent.tokens += 1;
      extent.visible += static_cast<double>(visible);
      extent.selected += static_cast<double>(std::min(visible, config.index_topk));
    }
  }
  return extent;
}

class Counter {
 public:
  void add(const std::string& op, double multiply_adds, bool trained = true) {
    flops_[op].forward += 2 * multiply_adds;
    flops_[op].backward += trained ? 4 * multiply_adds : 0;
  }
  std::map<std::string, OpFlops> take() { return std::move(flops_); }

 private:
  std::map<std::string, OpFlops> flops_;
};

double real(std::int64_t length) { return static_cast<double>(length); }

void count_attention(const core::ModelConfig& c, const Extent& extent,
                     core::AttentionMode attention, Counter& counter) {
  const double d = real(c.hidden_size);
  const double heads = real(c.num_attention_heads);
  const double rq = real(c.q_lora_rank);
  const double rkv = real(c.kv_lora_rank);
  const double rope = real(c.qk_rope_head_dim);
  const double v = real(c.v_head_dim);
  counter.add("attention projections",
              extent.tokens *
                  (d * rq + rq * heads * real(c.qk_head_dim()) + d * (rkv + rope) + heads * v * d));
  const double up = extent.tokens * heads * rkv * (real(c.qk_nope_head_dim) + v);
  const double pairs = attention == core::AttentionMode::kSparse
                           ? extent.selected * heads * (2 * rkv + rope)
                           : extent.visible * heads * (real(c.qk_head_dim()) + v);
  counter.add("attention", up + pairs);
}

void count_indexer(const core::ModelConfig& c, const Extent& extent, Counter& counter) {
  const double d = real(c.hidden_size);
  const double heads = real(c.index_n_heads);
  const double dim = real(c.index_head_dim);
  counter.add("indexer projections",
              extent.tokens * (real(c.q_lora_rank) * heads * dim + d * dim + d * heads), false);
  counter.add("index scores and top-k", extent.visible * heads * dim, false);
}

void count_mlp(const core::ModelConfig& c, const Extent& extent, bool sparse, Counter& counter) {
  const double work = extent.tokens * real(c.hidden_size);
  if (!sparse) {
    counter.add("dense MLP", 3 * work * real(c.intermediate_size));
    return;
  }
  const double expert = 3 * work * real(c.moe_intermediate_size);
  counter.add("router", work * real(c.n_routed_experts));
  counter.add("routed experts", expert * real(c.num_experts_per_tok));
  counter.add("shared experts", expert * real(c.n_shared_experts));
}

}  // namespace

std::map<std::string, OpFlops> model_flops(const core::ModelConfig& config,
                                           const tensors::Inputs& inputs,
                                           core::AttentionMode attention) {
  const Extent extent = extent_of(config, inputs);
  Counter counter;
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    count_attention(config, extent, attention, counter);
    if (attention == core::AttentionMode::kSparse) {
      count_indexer(config, extent, counter);
    }
    count_mlp(config, extent, config.is_moe_layer(layer), counter);
  }
  counter.add("head", extent.tokens * real(config.hidden_size) * real(config.vocab_size));
  return counter.take();
}

}  // namespace sparity::bench
