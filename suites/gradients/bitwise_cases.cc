#include "suites/gradients/bitwise_cases.h"

#include "src/model/model.h"
#include "src/ops/loss.h"
#include "src/tensors/recorder.h"
#include "suites/cases/skips.h"
#include "suites/cases/threads.h"
#include "suites/gradients/backward_runs.h"
#include "suites/gradients/fused_ops.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <functional>
#include <string>

namespace sparity::suites::gradients {

namespace {

using cases::SuiteContext;

void judge_threads(const SuiteContext& context, judge::CaseRecord& record) {
  for (const FusedOp& op : fused_ops(context, context.activation())) {
    const auto run = [&](int threads) {
      const cases::Threads limit(threads);
      const at::Tensor output = op.run(op.inputs);
      std::vector<at::Tensor> all = gradients_of(
          op, context.normal("gradients.bits", output.sizes()).to(output.scalar_type()));
      all.push_back(output);
      return all;
    };
    const std::vector<at::Tensor> one = run(1);
    for (const int threads : {2, 3}) {
      const std::vector<at::Tensor> more = run(threads);
      for (std::size_t i = 0; i < one.size(); ++i) {
        const std::string what =
            i + 1 == one.size() ? op.name : fmt::format("grad.{}.{}", op.name, i);
        record.comparisons.push_back(
            cases::compare_bits(fmt::format("{} with {} threads", what, threads), more[i], one[i]));
      }
    }
  }
}

void compare_runs(const cases::BackwardTrace& again, const cases::BackwardTrace& first,
                  judge::CaseRecord& record) {
  for (const auto& [name, gradient] : first.parameters) {
    record.comparisons.push_back(
        cases::compare_bits(tensors::gradient_name(name), again.parameters.at(name), gradient));
  }
}

void judge_repeats(const SuiteContext& context, judge::CaseRecord& record) {
  const at::Tensor cotangent = cotangent_for(context, "gradients.repeats");
  const auto run = [&] {
    return cases::trace_backward(context.candidate(),
                                 {.inputs = context.inputs(), .cotangent = cotangent});
  };
  const cases::BackwardTrace first = run();
  for (int i = 0; i < 3; ++i) {
    compare_runs(run(), first, record);
  }
}

/// Looking changes nothing: gradients with everything captured are those without, bit for bit.
void judge_capture(const SuiteContext& context, judge::CaseRecord& record) {
  const at::Tensor cotangent = cotangent_for(context, "gradients.capture");
  const cases::BackwardTrace watched = cases::trace_backward(
      context.candidate(), {.inputs = context.inputs(), .cotangent = cotangent});
  const cases::GradientRun alone =
      context.candidate().backward(context.inputs(), core::AttentionMode::kSparse, {}, cotangent);
  for (const auto& [name, gradient] : alone.parameters) {
    record.comparisons.push_back(
        cases::compare_bits(tensors::gradient_name(name), watched.parameters.at(name), gradient));
  }
}

/// What differs from a plain run.
struct Changes {
  std::function<bool(const std::string& parameter)> frozen = [](const std::string&) {
    return false;
  };
  cases::Forced forced = {};
};

/// One traced pass of the candidate, and what it leaves in the parameters.
cases::BackwardTrace run_model(const SuiteContext& context, const at::Tensor& cotangent,
                               const model::ForwardOptions& options, const Changes& changes) {
  const at::AutoGradMode recording(true);
  const tensors::WeightStore leaves = context.weights().as_leaves(context.checkpoint().manifest);
  for (const auto& [name, leaf] : leaves.tensors()) {
    if (changes.frozen(name)) {
      leaf.set_requires_grad(false);
    }
  }
  tensors::Recorder recorder({"*"});
  for (const auto& [name, value] : changes.forced) {
    recorder.force(name, value);
  }
  const model::Model model(context.config(), leaves);
  model.forward(context.inputs(), options, tensors::Probe(&recorder))
      .backward(cotangent.to(context.activation() == at::kDouble ? at::kDouble : at::kFloat));
  cases::BackwardTrace run{{recorder.order(), recorder.captured()}, {}, {}};
  for (const auto& [name, leaf] : leaves.tensors()) {
    if (leaf.grad().defined()) {
      run.parameters.emplace(name, leaf.grad());
    }
  }
  return run;
}

void compare_recomputation(const SuiteContext& context, const Changes& changes,
                           judge::CaseRecord& record) {
  const at::Tensor cotangent = cotangent_for(context, "gradients.recomputed");
  const cases::BackwardTrace kept = run_model(context, cotangent, {}, changes);
  const cases::BackwardTrace again =
      run_model(context, cotangent, {.recompute_layers = true}, changes);
  record.comparisons.push_back(cases::claim_holds(
      "intermediates", again.trace.order == kept.trace.order, "the same ones, each seen once"));
  record.comparisons.push_back(
      cases::claim_holds("gradients",
                         again.parameters.size() == kept.parameters.size() &&
                             again.trace.tensors.size() == kept.trace.tensors.size(),
                         "as many as without recomputation"));
  for (const auto& [name, value] : kept.trace.tensors) {
    if (again.trace.tensors.contains(name)) {
      record.comparisons.push_back(cases::compare_bits(name, again.trace.tensors.at(name), value));
    }
  }
  compare_runs(again, kept, record);
}

void judge_recomputation(const SuiteContext& context, judge::CaseRecord& record) {
  compare_recomputation(context, {}, record);
}

/// As with adapters: in every layer some parameters take no gradient.
void judge_frozen_recomputation(const SuiteContext& context, judge::CaseRecord& record) {
  compare_recomputation(
      context,
      {.frozen = [](const std::string& name) { return name.find("_proj") != std::string::npos; }},
      record);
}

/// A replaced layer output starts the stream anew, in both passes.
void judge_replaced_recomputation(const SuiteContext& context, judge::CaseRecord& record) {
  const at::IntArrayRef rows = context.inputs().input_ids.sizes();
  const at::Tensor stream =
      context.normal("gradients.replaced", {rows[0], rows[1], context.config().hidden_size});
  compare_recomputation(context, {.forced = {{"layers.0", stream}}}, record);
}

}  // namespace

std::vector<cases::Case> bitwise_cases() {
  return {
      cases::of_our_implementation(
          {"gradients", "of_fused_operations_do_not_depend_on_threads", judge_threads}),
      {"gradients", "repeat_bit_for_bit", judge_repeats},
      cases::of_our_implementation(
          {"gradients", "do_not_depend_on_being_looked_at", judge_capture}),
      {"gradients", "of_layers_run_again_are_those_of_layers_kept", judge_recomputation},
      {"gradients", "of_layers_run_again_with_frozen_parameters", judge_frozen_recomputation},
      {"gradients", "of_layers_run_again_with_a_replaced_stream", judge_replaced_recomputation},
  };
}

}  // namespace sparity::suites::gradients
