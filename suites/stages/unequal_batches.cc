#include "suites/stages/unequal_batches.h"

#include "src/tensors/input_checks.h"

#include <set>

namespace sparity::suites::stages {

namespace {

/// Row `row` of the inputs, its first `tokens` places.
tensors::Inputs row_of(const tensors::Inputs& inputs, std::int64_t row, std::int64_t tokens) {
  const auto cut = [&](const at::Tensor& all) {
    return all.narrow(0, row, 1).narrow(1, 0, tokens).clone();
  };
  tensors::Inputs one;
  one.input_ids = cut(inputs.input_ids);
  one.token_mask = cut(inputs.token_mask);
  one.position_ids = cut(inputs.position_ids);
  one.labels = cut(inputs.labels);
  return one;
}

}  // namespace

MicroBatches unequal_batches(const cases::SuiteContext& context, std::int64_t number) {
  const std::uint64_t seed =
      1000 * (context.options().seed + 1) + 2 * static_cast<std::uint64_t>(number);
  constexpr std::int64_t kLong = 60;
  constexpr std::int64_t kTokens = 28;
  const tensors::Inputs two = tensors::seeded_inputs(context.config(), seed, kLong);
  MicroBatches batch = {row_of(two, 0, 40), row_of(two, 1, kLong),
                        tensors::seeded_inputs(context.config(), seed + 1, 9)};
  batch[0].labels.narrow(1, 0, 12).fill_(tensors::kIgnoredLabel);
  batch[1].labels.narrow(1, kTokens, kLong - kTokens).fill_(tensors::kIgnoredLabel);
  batch[1].token_mask.narrow(1, kTokens, kLong - kTokens).fill_(false);
  return batch;
}

std::int64_t distinct_tokens(const MicroBatches& batch) {
  std::set<std::int64_t> ids;
  for (const tensors::Inputs& inputs : batch) {
    const at::Tensor tokens = inputs.input_ids.masked_select(inputs.token_mask);
    const auto* first = tokens.const_data_ptr<std::int64_t>();
    ids.insert(first, first + tokens.numel());
  }
  return std::ssize(ids);
}

}  // namespace sparity::suites::stages
