#include "src/ops/key_mask.h"

#include "src/core/fault.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

namespace sparity::ops {

using core::Fault;
using core::planted;

KeyMask::KeyMask(const tensors::Inputs& inputs) : KeyMask(inputs.token_mask, inputs.pair_mask) {}

KeyMask::KeyMask(const at::Tensor& token_mask, const at::Tensor& pair_mask)
    : token_mask_(token_mask.contiguous()), pair_mask_(pair_mask) {}

template <typename EndOf>
at::Tensor KeyMask::build(std::int64_t row0, std::int64_t row1, EndOf end_of) const {
  const std::int64_t columns = tokens();
  at::Tensor mask = at::zeros({batch(), row1 - row0, columns}, at::kBool);
  bool* out = mask.mutable_data_ptr<bool>();
  const bool* token = token_mask_.const_data_ptr<bool>();
  for (std::int64_t b = 0; b < batch(); ++b) {
    const bool* is_token = token + b * columns;
    for (std::int64_t s = row0; s < row1; ++s, out += columns) {
      if (is_token[s]) {
        std::copy_n(is_token, std::clamp<std::int64_t>(end_of(s), 0, columns), out);
      }
    }
  }
  return pair_mask_.defined() ? mask.logical_and_(pair_mask_.narrow(1, row0, row1 - row0)) : mask;
}

at::Tensor KeyMask::rows(std::int64_t row0, std::int64_t row1) const {
  const std::int64_t reach = planted(Fault::kF05MaskLeaksOneToken) ? 1
                             : planted(Fault::kF06MaskStrict)      ? -1
                                                                   : 0;
  return build(row0, row1, [reach](std::int64_t s) { return s + reach + 1; });
}

at::Tensor KeyMask::rows_without_causality(std::int64_t row0, std::int64_t row1) const {
  return build(row0, row1, [this](std::int64_t) { return tokens(); });
}

}  // namespace sparity::ops
