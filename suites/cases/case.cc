#include "suites/cases/case.h"

#include "src/core/error.h"
#include "src/tensors/at_dtype.h"
#include "suites/judge/name_sets.h"
#include "suites/judge/outcome.h"

#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <new>

namespace sparity::cases {

namespace {

TensorMap map_tensors(const TensorMap& inputs, at::Tensor (*function)(const at::Tensor&)) {
  TensorMap mapped;
  for (const auto& [name, tensor] : inputs) {
    mapped.emplace(name, function(tensor));
  }
  return mapped;
}

at::Tensor widened(const at::Tensor& tensor) {
  return tensor.is_floating_point() ? tensor.to(at::kDouble) : tensor;
}

at::Tensor copied(const at::Tensor& tensor) { return tensor.clone(); }

std::vector<std::string> names_of(const Outputs& outputs) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : outputs) {
    names.push_back(name);
  }
  return names;
}

const at::Tensor* find(const Outputs& outputs, const std::string& name) {
  const auto found = std::ranges::find(outputs, name, &Outputs::value_type::first);
  return found == outputs.end() ? nullptr : &found->second;
}

bool lists(const std::vector<std::string>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

void compare_outputs(const OpClaim& claim, const SuiteContext& context, const Outputs& candidate,
                     const Outputs& baseline, const Outputs& truth, judge::CaseRecord& record) {
  record.comparisons = judge::compare_names(names_of(candidate), names_of(truth));
  for (const auto& [name, value] : candidate) {
    const at::Tensor* expected = find(truth, name);
    const at::Tensor* honest = find(baseline, name);
    if (expected == nullptr || honest == nullptr) {
      continue;  // already counted against the candidate by compare_names
    }
    const judge::Tensor honest_view = judged(*honest);
    judge::TensorClaim tensor_claim;
    tensor_claim.tensor = name;
    tensor_claim.exact = lists(claim.exact, name);
    tensor_claim.direction = claim.direction;
    if (lists(claim.from_rounded, name)) {
      tensor_claim.computed_in = context.options().dtype;
    }
    tensor_claim.reduction_length = context.reduction_length();
    tensor_claim.conditioned = context.options().embedded;
    record.comparisons.push_back(
        judge::compare(tensor_claim, judged(value), &honest_view, judged(*expected)));
  }
}

void run_op(const OpClaim& claim, const SuiteContext& context, judge::CaseRecord& record) {
  const TensorMap inputs = claim.inputs(context);
  const Outputs truth = claim.reference(context, map_tensors(inputs, widened));
  const Outputs baseline = claim.reference(context, inputs);
  const TensorMap before = map_tensors(inputs, copied);
  const Outputs candidate = claim.candidate(context, inputs);
  compare_outputs(claim, context, candidate, baseline, truth, record);
  for (const auto& [name, tensor] : inputs) {
    record.comparisons.push_back(
        compare_bits(claim.name + " leaves input " + name + " unchanged", tensor, before.at(name)));
  }
}

}  // namespace

Case op_case(OpClaim claim) {
  const std::string suite = claim.suite;
  const std::string name = claim.name;
  return {suite, name,
          [claim = std::move(claim)](const SuiteContext& context, judge::CaseRecord& record) {
            run_op(claim, context, record);
          }};
}

judge::Tensor judged(const at::Tensor& tensor) {
  const at::Tensor host = tensor.contiguous();
  const core::Dtype dtype = tensors::to_dtype(host.scalar_type());
  return {dtype, host.sizes().vec(), core::widen(tensors::bytes_of(host), dtype)};
}

judge::Comparison compare_bits(const std::string& tensor, const at::Tensor& candidate,
                               const at::Tensor& expected) {
  // What is expected is the candidate's too: its NaN is no broken truth.
  if (expected.isnan().any().item<bool>()) {
    return claim_holds(tensor, false, "NaN in what the candidate computed first");
  }
  judge::TensorClaim claim;
  claim.tensor = tensor;
  claim.exact = true;
  const judge::Tensor reference = judged(expected);
  const judge::Tensor truth = reference;  // the judge refuses one object in two roles
  return judge::compare(claim, judged(candidate), &reference, truth);
}

judge::Comparison claim_holds(const std::string& tensor, bool holds, const std::string& note) {
  judge::Comparison comparison;
  comparison.tensor = tensor;
  comparison.gates.push_back(judge::make_gate("holds", holds ? 0.0 : 1.0, 0.0, true, note));
  return comparison;
}

judge::CaseRecord run_case(const Case& c, const SuiteContext& context) {
  const SuiteOptions& options = context.options();
  judge::CaseRecord record;
  record.suite = c.suite;
  record.name = c.name;
  record.config = options.config_name;
  record.config_hash = core::config_hash(context.config());
  record.dtype = std::string(core::to_string(options.dtype));
  record.recipe = std::string(core::to_string(options.recipe));
  record.seed = options.seed;
  record.rerun = fmt::format("{} --filter '{}'", options.rerun, c.name);
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_gradients;
  try {
    c.run(context, record);
    if (record.verdict != judge::Verdict::kSkip) {
      judge::settle(record);
    }
  } catch (const core::Error& error) {
    record.verdict = error.code() == core::ExitCode::kBadInput ? judge::Verdict::kBadInput
                                                               : judge::Verdict::kHarnessFault;
    record.message = fmt::format("{} ({})", error.what(), error.where());
  } catch (const std::bad_alloc&) {
    record.verdict = judge::Verdict::kOutOfMemory;
    record.message = "out of memory";
  } catch (const c10::Error& error) {
    record.verdict = judge::Verdict::kCrash;
    record.message = fmt::format("LibTorch: {}", error.what_without_backtrace());
  }
  record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return record;
}

}  // namespace sparity::cases
