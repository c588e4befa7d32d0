#include "suites/bench/model_work.h"

#include "src/core/error.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace sparity::bench {

namespace {

/// What the work of a pass is counted over.
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

double real(std::int64_t length) { return static_cast<double>(length); }

/// Adds work up by operation. Sizes are in elements of the pass's dtype.
class Counter {
 public:
  explicit Counter(core::Dtype dtype) : element_(real(static_cast<std::int64_t>(size_of(dtype)))) {}

  /// y = a·b, in all `multiply_adds`; with a way back: da = dy·b', db = a'·dy.
  void product(const std::string& op, double multiply_adds, double operands, double results,
               bool trained = true) {
    add(work_[op].forward, 2 * multiply_adds, operands + results);
    if (trained) {
      add(work_[op].backward, 4 * multiply_adds, 2 * operands + results);
    }
  }
  /// `rows` of `in` features to `out`.
  void linear(const std::string& op, double rows, std::int64_t in, std::int64_t out,
              bool trained = true) {
    product(op, rows * real(in) * real(out), rows * real(in) + real(in) * real(out),
            rows * real(out), trained);
  }
  /// Moves elements and multiplies nothing.
  void move(const std::string& op, double forward, double backward) {
    add(work_[op].forward, 0, forward);
    add(work_[op].backward, 0, backward);
  }
  double element() const { return element_; }
  std::map<std::string, OpWork> take() { return std::move(work_); }

 private:
  void add(Work& work, double flops, double elements) const {
    work.flops += flops;
    work.bytes += elements * element_;
  }

  double element_;
  std::map<std::string, OpWork> work_;
};

void count_norms(const core::ModelConfig& c, const Extent& extent, Counter& counter) {
  const double stream = extent.tokens * real(c.hidden_size);
  const double layers = real(c.num_hidden_layers);
  const double latents = layers * extent.tokens * real(c.q_lora_rank + c.kv_lora_rank);
  // One norm has no residual to add; 2L - 1 read two streams and write two; the last writes one.
  // Both summands have one gradient.
  const double sums = 2 * layers - 1;
  counter.move("norms", (2 + 4 * sums + 3) * stream + 2 * latents,
               (3 + 5 * sums + 4) * stream + 3 * latents);
}

void count_attention(const core::ModelConfig& c, const Extent& extent,
                     core::AttentionMode attention, Counter& counter) {
  const std::int64_t heads = c.num_attention_heads;
  const std::int64_t key = c.kv_lora_rank + c.qk_rope_head_dim;
  for (const auto& [in, out] :
       {std::pair{c.hidden_size, c.q_lora_rank}, std::pair{c.q_lora_rank, heads * c.qk_head_dim()},
        std::pair{c.hidden_size, key}, std::pair{heads * c.v_head_dim, c.hidden_size}}) {
    counter.linear("attention projections", extent.tokens, in, out);
  }
  const double rotated = extent.tokens * real((heads + 1) * c.qk_rope_head_dim);
  counter.move("rope", 2 * rotated, 2 * rotated);
  const double up = real(heads * c.kv_lora_rank * (c.qk_nope_head_dim + c.v_head_dim));
  const double pairs = attention == core::AttentionMode::kSparse
                           ? extent.selected * real(heads * (c.kv_lora_rank + key))
                           : extent.visible * real(heads * (c.qk_head_dim() + c.v_head_dim));
  counter.product("attention", extent.tokens * up + pairs,
                  extent.tokens * real(heads * c.qk_head_dim() + key) + up,
                  extent.tokens * real(heads * c.v_head_dim));
}

void count_indexer(const core::ModelConfig& c, const Extent& extent, Counter& counter) {
  const std::int64_t queries = c.index_n_heads * c.index_head_dim;
  counter.linear("indexer projections", extent.tokens, c.q_lora_rank, queries, false);
  counter.linear("indexer projections", extent.tokens, c.hidden_size, c.index_head_dim, false);
  counter.linear("indexer projections", extent.tokens, c.hidden_size, c.index_n_heads, false);
  counter.product("index scores and top-k", extent.visible * real(queries),
                  extent.tokens * real(queries + c.index_head_dim + c.index_n_heads),
                  extent.selected * sizeof(std::int64_t) / counter.element(), false);
}

void count_mlp(const core::ModelConfig& c, const Extent& extent, bool sparse, Counter& counter) {
  const double stream = extent.tokens * real(c.hidden_size);
  const auto mlps = [&](const std::string& op, std::int64_t inner, double used, double held) {
    const double weights = 3 * real(c.hidden_size) * real(inner);
    counter.product(op, extent.tokens * weights * used, stream + weights * held, stream);
  };
  if (!sparse) {
    mlps("dense MLP", c.intermediate_size, 1, 1);
    return;
  }
  counter.linear("router", extent.tokens, c.hidden_size, c.n_routed_experts);
  const double used = real(c.num_experts_per_tok);
  mlps("routed experts", c.moe_intermediate_size, used,
       std::min(real(c.n_routed_experts), extent.tokens * used));
  mlps("shared experts", c.moe_intermediate_size * c.n_shared_experts, 1, 1);
  counter.move("expert sum", 3 * stream, 0);
}

void count_ends(const core::ModelConfig& c, const Extent& extent, Counter& counter) {
  const double stream = extent.tokens * real(c.hidden_size);
  counter.move("embedding", 2 * stream, stream + real(c.vocab_size) * real(c.hidden_size));
  // The head's weight is kept, and its product computed, in at least float32.
  const double wide = std::max(1.0, sizeof(float) / counter.element());
  const double head = real(c.hidden_size) * real(c.vocab_size);
  const double logits = extent.tokens * real(c.vocab_size) * wide;
  counter.product("head", extent.tokens * head, stream + head * wide, logits);
  counter.move("loss", logits, 2 * logits);
}

}  // namespace

std::map<std::string, OpWork> model_work(const core::ModelConfig& config,
                                         const tensors::Inputs& inputs,
                                         core::AttentionMode attention, core::Dtype dtype) {
  const Extent extent = extent_of(config, inputs);
  Counter counter(dtype);
  count_norms(config, extent, counter);
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    count_attention(config, extent, attention, counter);
    if (attention == core::AttentionMode::kSparse) {
      count_indexer(config, extent, counter);
    }
    count_mlp(config, extent, config.is_moe_layer(layer), counter);
  }
  count_ends(config, extent, counter);
  return counter.take();
}

}  // namespace sparity::bench
