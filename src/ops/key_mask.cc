#include "src/ops/key_mask.h"

#include "src/core/fault.h"

#include <ATen/ops/empty.h>

#include <algorithm>

namespace sparity::ops {

using core::Fault;
using core::planted;

KeyMask::KeyMask(const tensors::Inputs& inputs) : KeyMask(inputs.token_mask, inputs.pair_mask) {}

KeyMask::KeyMask(const at::Tensor& token_mask, const at::Tensor& pair_mask)
    : token_mask_(token_mask.contiguous()),
      pair_mask_(pair_mask.defined() ? pair_mask.contiguous() : pair_mask) {}

void KeyMask::row(std::int64_t b, std::int64_t s, std::int64_t count, bool* out) const {
  const std::int64_t reach = planted(Fault::kF05MaskLeaksOneToken) ? 1
                             : planted(Fault::kF06MaskStrict)      ? -1
                                                                   : 0;
  const std::int64_t end = std::clamp<std::int64_t>(s + reach + 1, 0, count);
  row_without_causality(b, s, end, out);
  std::fill(out + end, out + count, false);
}

void KeyMask::row_without_causality(std::int64_t b, std::int64_t s, std::int64_t count,
                                    bool* out) const {
  const bool* is_token = token_mask_.const_data_ptr<bool>() + b * tokens();
  if (!is_token[s]) {
    std::fill_n(out, count, false);
    return;
  }
  std::copy_n(is_token, count, out);
  if (pair_mask_.defined()) {
    const bool* pair = pair_mask_.const_data_ptr<bool>() + (b * pair_mask_.size(1) + s) * tokens();
    std::transform(pair, pair + count, out, out,
                   [](bool open, bool token) { return open && token; });
  }
}

at::Tensor KeyMask::rows(std::int64_t row0, std::int64_t row1) const {
  at::Tensor mask = at::empty({batch(), row1 - row0, tokens()}, at::kBool);
  bool* out = mask.mutable_data_ptr<bool>();
  for (std::int64_t b = 0; b < batch(); ++b) {
    for (std::int64_t s = row0; s < row1; ++s, out += tokens()) {
      row(b, s, tokens(), out);
    }
  }
  return mask;
}

}  // namespace sparity::ops
