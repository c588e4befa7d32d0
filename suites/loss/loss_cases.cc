#include "suites/loss/loss_cases.h"

#include "reference/model/loss.h"
#include "reference/scalar/loss.h"
#include "src/core/error.h"
#include "src/core/philox.h"
#include "src/ops/loss.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>

#include <cmath>
#include <functional>
#include <string>
#include <utility>

namespace sparity::suites {

namespace {

using cases::Case;
using cases::OpClaim;
using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

namespace reference = sparity::reference::model;
namespace scalar = sparity::reference::scalar;

constexpr std::int64_t kRows = 3;
constexpr std::int64_t kTokens = 11;
constexpr std::int64_t kIgnored = -100;

at::Tensor random_labels(const SuiteContext& context) {
  const core::RandomStream stream(context.options().seed, "loss.labels");
  const auto vocabulary = static_cast<std::uint64_t>(context.config().vocab_size);
  at::Tensor labels = at::empty({kRows, kTokens}, at::kLong);
  auto* out = labels.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < labels.numel(); ++i) {
    out[i] = static_cast<std::int64_t>(stream.below(static_cast<std::uint64_t>(i), vocabulary));
  }
  return labels;
}

/// Logits of the activation dtype, every position labelled, no padding.
TensorMap plain_inputs(const SuiteContext& context) {
  const at::Tensor labels = random_labels(context);
  return {{"logits", context.normal("loss.logits", {kRows, kTokens, context.config().vocab_size})},
          {"labels", labels},
          {"token_mask", at::ones_like(labels, at::kBool)}};
}

/// A loss with its counts, in the shape that both sides return.
template <typename Loss>
Outputs outputs_of(const Loss& loss) {
  return {{"lm_loss", loss.loss},
          {"counted", at::scalar_tensor(loss.counted, at::kLong)},
          {"ignored", at::scalar_tensor(loss.ignored, at::kLong)}};
}

Outputs reference_outputs(const SuiteContext&, const TensorMap& in) {
  return outputs_of(reference::lm_loss(in.at("logits"), in.at("labels"), in.at("token_mask")));
}

Outputs candidate_outputs(const SuiteContext&, const TensorMap& in) {
  return outputs_of(ops::lm_loss(in.at("logits"), in.at("labels"), in.at("token_mask")));
}

/// The whole loss of `plain_inputs` after `change`, counts included.
Case loss_case(const std::string& name,
               const std::function<void(const SuiteContext&, TensorMap&)>& change) {
  return cases::op_case({
      .suite = "loss",
      .name = name,
      .inputs =
          [change](const SuiteContext& context) {
            TensorMap inputs = plain_inputs(context);
            change(context, inputs);
            return inputs;
          },
      .reference = reference_outputs,
      .candidate = candidate_outputs,
  });
}

/// The scalar loops' loss of each position, [kRows, kTokens − 1].
at::Tensor scalar_losses(const TensorMap& in) {
  const at::Tensor logits = in.at("logits").to(at::kDouble).contiguous();
  const auto vocabulary = static_cast<std::size_t>(logits.size(2));
  at::Tensor losses = at::empty({kRows, kTokens - 1}, at::kDouble);
  for (std::int64_t b = 0; b < kRows; ++b) {
    for (std::int64_t i = 0; i + 1 < kTokens; ++i) {
      const auto label = in.at("labels")[b][i + 1].item<std::int64_t>();
      const at::Tensor row = logits[b][i];
      losses[b][i] = scalar::cross_entropy({row.const_data_ptr<double>(), vocabulary},
                                           static_cast<std::size_t>(label));
    }
  }
  return losses;
}

/// `lm_loss` of each position alone, the others' labels ignored, [kRows, kTokens − 1].
template <typename LmLoss>
at::Tensor losses_one_by_one(const TensorMap& in, LmLoss lm_loss) {
  std::vector<at::Tensor> losses;
  for (std::int64_t b = 0; b < kRows; ++b) {
    for (std::int64_t i = 0; i + 1 < kTokens; ++i) {
      at::Tensor labels = at::full_like(in.at("labels"), kIgnored);
      labels[b][i + 1] = in.at("labels")[b][i + 1];
      losses.push_back(lm_loss(in.at("logits"), labels, in.at("token_mask")).loss);
    }
  }
  return at::stack(losses).view({kRows, kTokens - 1});
}

bool is_truth(const TensorMap& in) { return in.at("logits").scalar_type() == at::kDouble; }

/// A mean can't hide a wrong row here. The truth is the scalar loops.
Case position_case() {
  return cases::op_case({
      .suite = "loss",
      .name = "each_position_alone_costs_what_scalar_loops_say",
      .inputs = plain_inputs,
      .reference =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{{"lm_loss", is_truth(in) ? scalar_losses(in)
                                                    : losses_one_by_one(in, reference::lm_loss)}};
          },
      .candidate =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{{"lm_loss", losses_one_by_one(in, [](const auto&... operands) {
                              return ops::lm_loss(operands...);
                            })}};
          },
  });
}

/// Equal logits cost ln V whatever the label.
Case uniform_case() {
  return cases::op_case({
      .suite = "loss",
      .name = "equal_logits_cost_the_logarithm_of_the_vocabulary",
      .inputs =
          [](const SuiteContext& context) {
            TensorMap inputs = plain_inputs(context);
            inputs.at("logits").fill_(-2.5);
            return inputs;
          },
      .reference =
          [](const SuiteContext& context, const TensorMap& in) {
            if (!is_truth(in)) {
              return Outputs{reference_outputs(context, in).front()};
            }
            const auto vocabulary = static_cast<double>(context.config().vocab_size);
            return Outputs{{"lm_loss", at::scalar_tensor(std::log(vocabulary), at::kDouble)}};
          },
      .candidate =
          [](const SuiteContext& context, const TensorMap& in) {
            return Outputs{candidate_outputs(context, in).front()};
          },
  });
}

/// The candidate sees every row of logits raised by a constant of its own, the reference does not.
/// Logits are halves in [−4, 4] and constants multiples of 4 up to 12: sums are exact in bfloat16.
Case row_constant_case() {
  return cases::op_case({
      .suite = "loss",
      .name = "a_constant_added_to_a_row_of_logits_changes_nothing",
      .inputs =
          [](const SuiteContext& context) {
            TensorMap inputs = plain_inputs(context);
            inputs.at("logits") = inputs.at("logits").mul(2).round().clamp(-8, 8).div(2);
            return inputs;
          },
      .reference = reference_outputs,
      .candidate =
          [](const SuiteContext& context, const TensorMap& in) {
            TensorMap raised = in;
            const core::RandomStream stream(context.options().seed, "loss.row_constants");
            at::Tensor constants = at::empty({kRows, kTokens, 1}, at::kDouble);
            auto* out = constants.mutable_data_ptr<double>();
            for (std::int64_t i = 0; i < constants.numel(); ++i) {
              out[i] = 4.0 * static_cast<double>(stream.below(static_cast<std::uint64_t>(i), 4));
            }
            raised.at("logits") = in.at("logits").add(constants.to(context.activation()));
            return candidate_outputs(context, raised);
          },
  });
}

bool refuses(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& token_mask) {
  try {
    ops::lm_loss(logits, labels, token_mask);
  } catch (const core::Error& error) {
    return error.code() == core::ExitCode::kBadInput;
  }
  return false;
}

Case no_label_case() {
  return {"loss", "inputs_without_a_label_that_counts_are_refused",
          [](const SuiteContext& context, judge::CaseRecord& record) {
            const TensorMap in = plain_inputs(context);
            const at::Tensor& logits = in.at("logits");
            const at::Tensor& labels = in.at("labels");
            const at::Tensor& tokens = in.at("token_mask");
            const at::Tensor none = at::full_like(labels, kIgnored);
            at::Tensor first_only = none.clone();
            first_only.select(1, 0).copy_(labels.select(1, 0));
            at::Tensor padded = tokens.clone();
            padded.narrow(1, 0, kTokens - 1).fill_(false);
            const auto add = [&](const std::string& what, bool refused) {
              record.comparisons.push_back(cases::claim_holds(
                  "lm_loss of " + what, refused, "the candidate throws with exit code 5"));
            };
            add("labels that are all -100", refuses(logits, none, tokens));
            add("labels in the first column only", refuses(logits, first_only, tokens));
            add("labels that only padding predicts", refuses(logits, labels, padded));
            add("rows of one token",
                refuses(logits.narrow(1, 0, 1), labels.narrow(1, 0, 1), tokens.narrow(1, 0, 1)));
          }};
}

std::vector<Case> label_cases() {
  return {
      loss_case("some_labels_are_ignored",
                [](const SuiteContext&, TensorMap& in) {
                  in.at("labels").select(1, 4).fill_(kIgnored);
                  in.at("labels")[1].narrow(0, 0, 3).fill_(kIgnored);
                  in.at("labels")[2].fill_(kIgnored);
                }),
      loss_case("padding_on_the_right_predicts_nothing",
                [](const SuiteContext&, TensorMap& in) {
                  in.at("token_mask")[1].narrow(0, 6, kTokens - 6).fill_(false);
                  in.at("token_mask")[2].narrow(0, 1, kTokens - 1).fill_(false);
                  in.at("labels")[2].narrow(0, 1, kTokens - 1).fill_(kIgnored);
                }),
      loss_case("padding_on_the_left_predicts_nothing",
                [](const SuiteContext&, TensorMap& in) {
                  in.at("token_mask")[0].narrow(0, 0, 2).fill_(false);
                  in.at("token_mask")[1].narrow(0, 0, 7).fill_(false);
                  in.at("labels")[1].narrow(0, 0, 7).fill_(kIgnored);
                }),
      loss_case("labels_and_logits_may_be_strided",
                [](const SuiteContext&, TensorMap& in) {
                  for (auto& [name, tensor] : in) {
                    tensor = tensor.transpose(0, 1).contiguous().transpose(0, 1);
                  }
                  in.at("token_mask")[1].narrow(0, 6, kTokens - 6).fill_(false);
                }),
  };
}

std::vector<Case> magnitude_cases() {
  const auto scaled_by = [](double scale) {
    return [scale](const SuiteContext&, TensorMap& in) {
      in.at("logits") = in.at("logits").mul(scale);
    };
  };
  return {
      loss_case("logits_of_1e4_do_not_overflow", scaled_by(1e4)),
      loss_case("logits_of_1e30_do_not_overflow", scaled_by(1e30)),
      loss_case("logits_near_zero", scaled_by(1e-3)),
      loss_case(
          "labels_almost_certain",
          [](const SuiteContext&, TensorMap& in) {
            // ln(1 + V·e^-12): small against every term it is the difference of.
            const at::Tensor targets = in.at("labels").narrow(1, 1, kTokens - 1);
            in.at("logits").narrow(1, 0, kTokens - 1).scatter_(-1, targets.unsqueeze(-1), 12.0);
          }),
  };
}

}  // namespace

std::vector<Case> loss_cases() {
  std::vector<Case> all = {
      loss_case("every_position_predicts_the_next_label", [](const SuiteContext&, TensorMap&) {}),
      position_case(),
      uniform_case(),
      row_constant_case(),
  };
  for (const std::vector<Case>& part : {label_cases(), magnitude_cases()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  all.push_back(no_label_case());
  return all;
}

}  // namespace sparity::suites
