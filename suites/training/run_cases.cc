#include "suites/training/run_cases.h"

#include "src/tensors/at_dtype.h"
#include "src/train/token_data.h"
#include "suites/cases/skips.h"
#include "suites/stages/stage_run.h"
#include "suites/stages/telling_options.h"
#include "suites/stages/unequal_batches.h"
#include "suites/training/objective_runs.h"

#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>

namespace sparity::suites::training {

namespace {

using cases::Case;
using cases::SuiteContext;

namespace reference = sparity::reference::train;

/// A loss as a tensor; undefined where there is none.
at::Tensor scalar_of(const std::optional<double>& loss, at::ScalarType type) {
  return loss ? at::scalar_tensor(*loss, at::kDouble).to(type) : at::Tensor();
}

/// A long one, one that is padded, and three short ones, which have few keys and little KL loss.
stages::MicroBatches batches_of(const SuiteContext& context) {
  stages::MicroBatches batches = stages::unequal_batches(context, 0);
  for (const std::int64_t number : {1, 2}) {
    batches.push_back(stages::unequal_batches(context, number).back());
  }
  return batches;
}

/// The stage's losses over unequal batches are those that a step of the reference finds over them.
void judge_validation(const SuiteContext& context, const stages::StageRule& rule,
                      core::KlReduction reduction, judge::CaseRecord& record) {
  if (cases::skip_another_model(context, record)) {
    return;
  }
  train::TrainOptions options = stages::telling_options(context, rule);
  options.kl.reduction = reduction;
  train::settle(options);
  const train::Trainer trainer = stages::trainer_of(context, options);
  const stages::MicroBatches batches = batches_of(context);
  const stages::Preview preview = stages::preview_of(context, trainer, batches);
  const train::LossReport found = trainer.validate(batches);
  const stages::Standing from = stages::Standing::of(trainer);
  const auto step_of = [&](at::ScalarType compute) {
    reference::Training training = stages::training_from(context, compute, rule, options, from);
    return stages::step_under(training, batches, preview.choices);
  };
  const reference::StepResult baseline = step_of(context.activation());
  const reference::StepResult truth = step_of(at::kDouble);
  const at::ScalarType wide = tensors::at_least_f32(context.activation());
  const auto judge = [&](const char* name, const std::optional<double>& candidate,
                         const std::optional<double>& honest,
                         const std::optional<double>& expected) {
    judge_value(context, name, scalar_of(candidate, wide), {scalar_of(honest, wide)},
                scalar_of(expected, at::kDouble), record);
  };
  judge("validation.kl_loss", found.kl, baseline.kl, truth.kl);
  judge("validation.lm_loss", found.lm, baseline.lm, truth.lm);
  const auto weighted = [&](const std::optional<double>& balance) {
    return balance ? std::optional(*balance * options.balance.coefficient) : std::nullopt;
  };
  judge("validation.balance_loss", weighted(found.balance), baseline.balance, truth.balance);
  judge("validation.loss", found.total, baseline.loss, truth.loss);
}

/// Every epoch takes every row once, each in an order of its own, which the seed decides and not
/// where a run starts to ask.
void judge_row_order(const SuiteContext& context, judge::CaseRecord& record) {
  constexpr std::int64_t kRows = 11;
  constexpr std::int64_t kEpochs = 4;
  const auto seed = static_cast<std::int64_t>(context.options().seed);
  const std::vector<std::int64_t> all = train::RowOrder(seed, kRows).take(0, kEpochs * kRows);
  const auto claim = [&](const std::string& name, bool holds, const char* note) {
    record.comparisons.push_back(cases::claim_holds("rows." + name, holds, note));
  };
  std::vector<std::int64_t> in_order(kRows);
  std::iota(in_order.begin(), in_order.end(), 0);
  std::vector<std::vector<std::int64_t>> epochs;
  for (std::int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const auto begin = all.begin() + epoch * kRows;
    std::vector<std::int64_t> rows(begin, begin + kRows);
    claim(fmt::format("epoch_{}.drawn", epoch), rows != in_order, "not as the file has them");
    claim(fmt::format("epoch_{}.differs", epoch), std::ranges::find(epochs, rows) == epochs.end(),
          "an order that no epoch before had");
    epochs.push_back(rows);
    std::ranges::sort(rows);
    claim(fmt::format("epoch_{}.complete", epoch), rows == in_order, "every row once");
  }
  for (const std::int64_t first : {1, 10, 11, 25}) {
    const std::vector<std::int64_t> rest =
        train::RowOrder(seed, kRows).take(first, kEpochs * kRows - first);
    claim(fmt::format("from_{}", first), std::equal(rest.begin(), rest.end(), all.begin() + first),
          "what a resumed run takes is what the unbroken one does");
  }
  train::RowOrder piecewise(seed, kRows);
  std::vector<std::int64_t> pieces;
  for (std::int64_t first = 0; first < kEpochs * kRows; first += 4) {
    std::ranges::copy(piecewise.take(first, 4), std::back_inserter(pieces));
  }
  claim("in_pieces", pieces == all, "micro-batches take them one after the other");
  claim("by_seed", train::RowOrder(seed + 1, kRows).take(0, kEpochs * kRows) != all,
        "another seed, another order");
}

Case validation_case(const std::string& name, const stages::StageRule& rule,
                     core::KlReduction reduction) {
  return {"training", "validation_" + name,
          [=](const SuiteContext& context, judge::CaseRecord& record) {
            judge_validation(context, rule, reduction, record);
          }};
}

}  // namespace

std::vector<Case> run_cases() {
  std::vector<Case> all = {{"training", "order_of_rows", judge_row_order}};
  for (const auto& [reduction, word] : core::option_words<core::KlReduction>()) {
    all.push_back(validation_case(fmt::format("with_kl_reduction_{}", word),
                                  stages::kIndexerOnlyRule, reduction));
  }
  all.push_back(validation_case("of_lm_and_kl", stages::kSparseRule, core::KlOptions().reduction));
  all.push_back(
      validation_case("of_lm_and_balance", stages::kPretrainRule, core::KlOptions().reduction));
  return all;
}

}  // namespace sparity::suites::training
