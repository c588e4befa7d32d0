#include "src/train/token_data.h"

#include "src/core/fault.h"
#include "src/core/file_io.h"
#include "src/core/philox.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace sparity::train {

TokenData read_token_data(const std::filesystem::path& path, const core::TokenLimits& limits) {
  return {core::read_token_rows(path, limits), path.string(), core::sha256_of_file(path)};
}

tensors::Inputs batch_of(const TokenData& data, const std::vector<std::int64_t>& rows) {
  std::size_t longest = 0;
  for (const std::int64_t row : rows) {
    longest = std::max(longest, data.rows[static_cast<std::size_t>(row)].input_ids.size());
  }
  const auto columns = static_cast<std::int64_t>(longest);
  tensors::Inputs inputs;
  inputs.input_ids = at::zeros({std::ssize(rows), columns}, at::kLong);
  inputs.token_mask = at::zeros({std::ssize(rows), columns}, at::kBool);
  inputs.labels = at::full({std::ssize(rows), columns}, core::kIgnoredLabel, at::kLong);
  inputs.position_ids = at::arange(columns, at::kLong).expand_as(inputs.input_ids).contiguous();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const core::TokenRow& row = data.rows[static_cast<std::size_t>(rows[i])];
    const auto offset = static_cast<std::int64_t>(i) * columns;
    std::ranges::copy(row.input_ids, inputs.input_ids.mutable_data_ptr<std::int64_t>() + offset);
    std::ranges::copy(row.labels, inputs.labels.mutable_data_ptr<std::int64_t>() + offset);
    std::fill_n(inputs.token_mask.mutable_data_ptr<bool>() + offset, row.input_ids.size(), true);
  }
  return inputs;
}

std::vector<std::int64_t> RowOrder::take(std::int64_t first, std::int64_t count) {
  std::vector<std::int64_t> rows;
  for (std::int64_t i = first; i < first + count; ++i) {
    rows.push_back(permutation(i / rows_)[static_cast<std::size_t>(i % rows_)]);
  }
  return rows;
}

const std::vector<std::int64_t>& RowOrder::permutation(std::int64_t epoch) {
  if (epoch != epoch_) {
    const bool same = core::planted(core::Fault::kF93EveryEpochInTheFirstOrder);
    const core::RandomStream random(static_cast<std::uint64_t>(seed_),
                                    fmt::format("epoch.{}", same ? 0 : epoch));
    permutation_.resize(static_cast<std::size_t>(rows_));
    std::iota(permutation_.begin(), permutation_.end(), 0);
    for (std::uint64_t i = permutation_.size() - 1; i > 0; --i) {
      std::swap(permutation_[i], permutation_[random.below(i, i + 1)]);
    }
    epoch_ = epoch;
  }
  return permutation_;
}

}  // namespace sparity::train
