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
  const tensors::Inputs two = tensors::seeded_inputs(context.config(), seed, 40);
  MicroBatches batch = {row_of(two, 0, 40), row_of(two, 1, 33),
                        tensors::seeded_inputs(context.config(), seed + 1, 17)};
  batch[0].labels.narrow(1, 0, 12).fill_(tensors::kIgnoredLabel);
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
