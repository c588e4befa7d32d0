#include "src/ops/key_mask.h"

#include "src/core/fault.h"

#include <ATen/ops/empty.h>

namespace sparity::ops {

using core::Fault;
using core::planted;

KeyMask::KeyMask(const tensors::Inputs& inputs)
    : token_mask_(inputs.token_mask.contiguous()), pair_mask_(inputs.pair_mask) {}

template <typename Visible>
at::Tensor KeyMask::build(std::int64_t row0, std::int64_t row1, Visible visible) const {
  const std::int64_t columns = tokens();
  at::Tensor mask = at::empty({batch(), row1 - row0, columns}, at::kBool);
  bool* out = mask.mutable_data_ptr<bool>();
  const bool* token = token_mask_.const_data_ptr<bool>();
  for (std::int64_t b = 0; b < batch(); ++b) {
    const bool* is_token = token + b * columns;
    for (std::int64_t s = row0; s < row1; ++s) {
      for (std::int64_t t = 0; t < columns; ++t) {
        *out++ = is_token[s] && is_token[t] && visible(s, t);
      }
    }
  }
  return pair_mask_.defined() ? mask.logical_and_(pair_mask_.narrow(1, row0, row1 - row0)) : mask;
}

at::Tensor KeyMask::rows(std::int64_t row0, std::int64_t row1) const {
  const std::int64_t reach = planted(Fault::kF05MaskLeaksOneToken) ? 1
                             : planted(Fault::kF06MaskStrict)      ? -1
                                                                   : 0;
  return build(row0, row1, [reach](std::int64_t s, std::int64_t t) { return t <= s + reach; });
}

at::Tensor KeyMask::rows_without_causality(std::int64_t row0, std::int64_t row1) const {
  return build(row0, row1, [](std::int64_t, std::int64_t) { return true; });
}

}  // namespace sparity::ops
