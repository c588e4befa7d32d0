#include "suites/cases/trace.h"

#include "src/tensors/recorder.h"
#include "suites/cases/case.h"
#include "suites/cases/magnitudes.h"
#include "suites/judge/error_stats.h"
#include "suites/judge/grouped_selection.h"
#include "suites/judge/name_sets.h"
#include "suites/judge/selection.h"

#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <algorithm>
#include <fnmatch.h>
#include <limits>
#include <numeric>
#include <utility>

namespace sparity::cases {

namespace {

constexpr std::string_view kChoice = ".topk_indices";

bool is_choice(const std::string& name) { return name.ends_with(kChoice); }

bool matches_any(const std::vector<std::string>& globs, const std::string& name) {
  return std::ranges::any_of(
      globs, [&](const auto& glob) { return fnmatch(glob.c_str(), name.c_str(), 0) == 0; });
}

tensors::Recorder recorder_with(const Forced& forced) {
  tensors::Recorder recorder({"*"});
  for (const auto& [name, value] : forced) {
    recorder.force(name, value);
  }
  return recorder;
}

Trace taken_from(const tensors::Recorder& recorder) {
  return {recorder.order(), recorder.captured()};
}

std::vector<std::string> names_of(const Trace& trace, const std::vector<std::string>& globs) {
  std::vector<std::string> names;
  std::ranges::copy_if(trace.order, std::back_inserter(names),
                       [&](const std::string& name) { return matches_any(globs, name); });
  return names;
}

/// [B, S, …] with the rows of padded tokens set to zero.
at::Tensor without_padding(const at::Tensor& value, const at::Tensor& token_mask) {
  if (value.dim() < 2 || value.size(0) != token_mask.size(0) ||
      value.size(1) != token_mask.size(1)) {
    return value;
  }
  std::vector<std::int64_t> shape = {token_mask.size(0), token_mask.size(1)};
  shape.resize(static_cast<std::size_t>(value.dim()), 1);
  return value.masked_fill(token_mask.logical_not().view(shape), 0);
}

judge::Tensor judged_rows(const SuiteContext& context, const at::Tensor& value) {
  return judged(without_padding(value, context.inputs().token_mask));
}

/// Scores [B, S, T] with padded rows made to choose nothing, on every side.
judge::Tensor judged_scores(const SuiteContext& context, const at::Tensor& scores) {
  const at::Tensor padding = context.inputs().token_mask.logical_not().unsqueeze(-1);
  return judged(scores.masked_fill(padding, -std::numeric_limits<double>::infinity()));
}

judge::Tensor judged_indices(const SuiteContext& context, const at::Tensor& indices) {
  const at::Tensor padding = context.inputs().token_mask.logical_not().unsqueeze(-1);
  return judged(indices.masked_fill(padding, -1));
}

void add(const judge::SelectionResult& result, judge::CaseRecord& record, bool& flip_free) {
  record.comparisons.push_back(result.comparison);
  record.selections.push_back(result.summary);
  flip_free = flip_free && result.summary.flips == 0;
}

bool judge_keys(const SuiteContext& context, const TraceSides& sides, const std::string& name,
                judge::CaseRecord& record) {
  const std::string scores = name.substr(0, name.size() - kChoice.size()) + ".scores";
  const judge::Tensor own = judged_scores(context, sides.candidate.tensors.at(scores));
  const judge::Tensor own_indices = judged_indices(context, sides.candidate.tensors.at(name));
  const judge::Tensor honest = judged_scores(context, sides.baseline.tensors.at(scores));
  const judge::Tensor truth = judged_scores(context, sides.truth.tensors.at(scores));
  const judge::SelectionClaim claim{.tensor = name,
                                    .k = context.config().index_topk,
                                    .reduction_length = context.reduction_length(),
                                    .samples = context.distinct_tokens()};
  bool flip_free = true;
  add(judge::compare_selection(claim, {&own, &own_indices}, {&honest, nullptr}, truth), record,
      flip_free);
  return flip_free;
}

/// What a router chooses by: unbiased score + bias, added in the scores' dtype.
judge::Tensor choice_scores(const SuiteContext& context, const Trace& trace,
                            const std::string& name) {
  const std::string prefix = name.substr(0, name.size() - kChoice.size());
  const at::Tensor& scores = trace.tensors.at(prefix + ".scores");
  const at::Tensor bias =
      context.weights().get("model." + prefix + ".e_score_correction_bias", scores.scalar_type());
  return judged(scores.add(bias));
}

bool judge_experts(const SuiteContext& context, const TraceSides& sides, const std::string& name,
                   judge::CaseRecord& record) {
  const judge::Tensor own = choice_scores(context, sides.candidate, name);
  const judge::Tensor own_indices = judged(sides.candidate.tensors.at(name));
  const judge::Tensor honest = choice_scores(context, sides.baseline, name);
  const judge::Tensor truth = choice_scores(context, sides.truth, name);
  const judge::GroupedClaim claim{.tensor = name,
                                  .groups = context.config().n_group,
                                  .kept_groups = context.config().topk_group,
                                  .k = context.config().num_experts_per_tok,
                                  .reduction_length = context.config().hidden_size,
                                  .samples = context.distinct_tokens()};
  const judge::GroupedResult result =
      judge::compare_grouped_selection(claim, {&own, &own_indices}, {&honest, nullptr}, truth);
  bool flip_free = true;
  add(result.groups, record, flip_free);
  add(result.experts, record, flip_free);
  return flip_free;
}

/// ρ of `score_terms`, for real tokens. Not set where there are tokens enough.
std::optional<double> magnitude_of_scores(const SuiteContext& context, const Trace& truth,
                                          const std::string& name) {
  if (judge::widening(context.distinct_tokens()) == 1) {
    return std::nullopt;
  }
  const at::Tensor terms = score_terms(name, [&](const std::string& other) {
    const auto found = truth.tensors.find(other);
    return found == truth.tensors.end() ? at::Tensor() : found->second;
  });
  return terms.defined() ? std::optional(judge::rms(judged_rows(context, terms).values))
                         : std::nullopt;
}

}  // namespace

std::vector<std::uint64_t> draw_seeds(const BoundModel& model) {
  std::vector<std::uint64_t> seeds(static_cast<std::size_t>(model.draws()));
  std::iota(seeds.begin(), seeds.end(), 1);
  return seeds;
}

Trace trace_forward(const SuiteContext&, const BoundModel& model, const tensors::Inputs& inputs,
                    const Forced& forced, core::AttentionMode attention) {
  const auto run = [&](tensors::Recorder recorder) {
    model.forward(inputs, attention, tensors::Probe(&recorder));
    return taken_from(recorder);
  };
  Trace trace = run(recorder_with(forced));
  for (const std::uint64_t seed : draw_seeds(model)) {
    tensors::Recorder recorder = recorder_with(forced);
    recorder.dither(seed);
    trace.again.push_back(run(std::move(recorder)));
  }
  return trace;
}

LayerTrace trace_layer(const SuiteContext& context, const BoundModel& model, std::int64_t layer,
                       const StreamState& state, const Forced& forced) {
  const auto run = [&](tensors::Recorder recorder) {
    StreamState next = model.layer_forward(layer, state, context.inputs(),
                                           core::AttentionMode::kSparse, tensors::Probe(&recorder));
    return LayerTrace{taken_from(recorder), std::move(next)};
  };
  LayerTrace result = run(recorder_with(forced));
  for (const std::uint64_t seed : draw_seeds(model)) {
    tensors::Recorder recorder = recorder_with(forced);
    recorder.dither(seed);
    result.trace.again.push_back(run(std::move(recorder)).trace);
  }
  return result;
}

Forced selections_of(const Trace& trace) {
  Forced selections;
  for (const auto& [name, value] : trace.tensors) {
    if (is_choice(name)) {
      selections.emplace(name, value);
    }
  }
  return selections;
}

std::vector<StreamState> teacher_states(const SuiteContext& context) {
  const at::Tensor& ids = context.inputs().input_ids;
  const at::Tensor embedded = context.weights()
                                  .at("model.embed_tokens.weight")
                                  .index_select(0, ids.reshape({-1}))
                                  .view({ids.size(0), ids.size(1), -1});
  const auto rounded = [&](const at::Tensor& value) {
    return value.defined() ? value.to(context.activation()) : value;
  };
  std::vector<StreamState> states = {{embedded, {}}};
  for (std::int64_t layer = 0; layer + 1 < context.config().num_hidden_layers; ++layer) {
    const StreamState next = context.truth().layer_forward(layer, states.back(), context.inputs(),
                                                           core::AttentionMode::kSparse);
    states.push_back({rounded(next.hidden), rounded(next.residual)});
  }
  return states;
}

void judge_trace(const SuiteContext& context, const TraceSides& sides,
                 const std::vector<std::string>& globs, judge::CaseRecord& record) {
  const std::vector<std::string> expected = names_of(sides.truth, globs);
  std::ranges::move(judge::compare_names(names_of(sides.candidate, globs), expected),
                    std::back_inserter(record.comparisons));
  for (const std::string& name : expected) {
    if (is_choice(name) || !sides.candidate.tensors.contains(name)) {
      continue;
    }
    const judge::Tensor baseline = judged_rows(context, sides.baseline.tensors.at(name));
    judge::TensorClaim claim;
    claim.tensor = name;
    claim.reduction_length = context.reduction_length();
    claim.computed_in = context.options().dtype;
    claim.samples = context.samples();
    claim.conditioned = context.options().embedded;
    claim.magnitude = magnitude_of_scores(context, sides.truth, name);
    std::vector<judge::Tensor> further;
    for (const Trace& run : sides.baseline.again) {
      further.push_back(judged_rows(context, run.tensors.at(name)));
    }
    record.comparisons.push_back(
        judge::compare(claim, judged_rows(context, sides.candidate.tensors.at(name)), &baseline,
                       judged_rows(context, sides.truth.tensors.at(name)), further));
  }
}

bool judge_selections(const SuiteContext& context, const TraceSides& sides,
                      const std::vector<std::string>& globs, judge::CaseRecord& record) {
  bool flip_free = true;
  for (const std::string& name : names_of(sides.truth, globs)) {
    if (!is_choice(name) || !sides.candidate.tensors.contains(name)) {
      continue;
    }
    const bool own = name.ends_with(".indexer.topk_indices")
                         ? judge_keys(context, sides, name, record)
                         : judge_experts(context, sides, name, record);
    flip_free = flip_free && own;
  }
  return flip_free;
}

}  // namespace sparity::cases
