#include "suites/rope/rope_relations.h"

#include "reference/model/rope.h"
#include "src/ops/rope.h"
#include "suites/rope/rope_inputs.h"

#include <ATen/ops/tensor.h>

#include <initializer_list>

namespace sparity::suites {

namespace {

using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

namespace reference = sparity::reference::model;

at::Tensor candidate_rotation(const core::ModelConfig& config, const at::Tensor& x,
                              const at::Tensor& positions, bool interleaved) {
  const ops::RotaryTable table = ops::rotary_table(config, positions, x.scalar_type());
  return interleaved ? ops::rotate_interleaved(x, table) : ops::rotate_half_split(x, table);
}

at::Tensor reference_rotation(const SuiteContext& context, const at::Tensor& x,
                              const at::Tensor& positions, bool interleaved) {
  const reference::RotaryTable table = reference::rotary_table(
      context.config(), positions, x.scalar_type(), context.options().recipe);
  return interleaved ? reference::rotate_interleaved(x, table)
                     : reference::rotate_half_split(x, table);
}

/// Position 0 copies: what comes out is bit-equal to what went in.
cases::Case position_zero_case() {
  return cases::op_case({
      .suite = "rope",
      .name = "position_zero_turns_nothing",
      .inputs =
          [](const SuiteContext& context) {
            return TensorMap{
                {"x", context.normal("rope.x", {2, 3, 5, context.config().qk_rope_head_dim})}};
          },
      .reference =
          [](const SuiteContext&, const TensorMap& in) {
            return Outputs{{"rotate_interleaved", in.at("x")}, {"rotate_half_split", in.at("x")}};
          },
      .candidate =
          [](const SuiteContext& context, const TensorMap& in) {
            core::ModelConfig config = context.config();
            config.rope_parameters.attention_factor = 1.0;
            const at::Tensor zeros = constant_positions(2, 3, 0);
            return Outputs{
                {"rotate_interleaved", candidate_rotation(config, in.at("x"), zeros, true)},
                {"rotate_half_split", candidate_rotation(config, in.at("x"), zeros, false)}};
          },
      .exact = {"rotate_interleaved", "rotate_half_split"},
  });
}

/// A query's and a key's position, and the same two moved together. Powers of two: their phases are
/// exact multiples of the frequency, so that the relation holds exactly between what is rounded.
struct Shift {
  std::int64_t query;
  std::int64_t key;
  std::int64_t moved_query;
  std::int64_t moved_key;
};
constexpr std::initializer_list<Shift> kShifts = {
    {2, 1, 1, 0},  {16, 8, 8, 0},   {64, 32, 32, 0},  {256, 128, 128, 0},
    {8, 16, 0, 8}, {32, 64, 0, 32}, {4, 4, 128, 128}, {256, 256, 1, 1}};
constexpr auto kShiftCount = static_cast<std::int64_t>(kShifts.size());

at::Tensor positions_of(std::int64_t Shift::*which) {
  std::vector<std::int64_t> positions;
  for (const Shift& shift : kShifts) {
    positions.push_back(shift.*which);
  }
  return at::tensor(positions, at::kLong).unsqueeze(0);
}

/// <q, k> per token and head, summed in f32 or wider.
at::Tensor dots(const at::Tensor& q, const at::Tensor& k) {
  const at::ScalarType wide = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return q.to(wide).mul(k.to(wide)).sum(-1);
}

cases::Case shift_case(const std::string& name, bool interleaved) {
  return cases::op_case({
      .suite = "rope",
      .name = name,
      .inputs =
          [](const SuiteContext& context) {
            const std::int64_t dim = context.config().qk_rope_head_dim;
            return TensorMap{{"q", context.normal("rope.q", {1, kShiftCount, 9, dim})},
                             {"k", context.normal("rope.k", {1, kShiftCount, 9, dim})}};
          },
      .reference =
          [interleaved](const SuiteContext& context, const TensorMap& in) {
            return Outputs{
                {"logits", dots(reference_rotation(context, in.at("q"), positions_of(&Shift::query),
                                                   interleaved),
                                reference_rotation(context, in.at("k"), positions_of(&Shift::key),
                                                   interleaved))}};
          },
      .candidate =
          [interleaved](const SuiteContext& context, const TensorMap& in) {
            const core::ModelConfig& config = context.config();
            return Outputs{
                {"logits", dots(candidate_rotation(config, in.at("q"),
                                                   positions_of(&Shift::moved_query), interleaved),
                                candidate_rotation(config, in.at("k"),
                                                   positions_of(&Shift::moved_key), interleaved))}};
          },
      .from_rounded = {"logits"},
  });
}

/// P: even channels first, then odd ones.
at::Tensor evens_first(const at::Tensor& x) {
  return x.unflatten(-1, {-1, 2}).transpose(-1, -2).flatten(-2);
}
at::Tensor evens_first_undone(const at::Tensor& x) {
  return x.unflatten(-1, {2, -1}).transpose(-1, -2).flatten(-2);
}

/// half(P·x) = P·interleaved(x): what tells the two layouts apart (a common shift doesn't).
cases::Case permutation_case() {
  return cases::op_case({
      .suite = "rope",
      .name = "layouts_differ_by_a_permutation_of_channels",
      .inputs =
          [](const SuiteContext& context) {
            const std::int64_t dim = context.config().qk_rope_head_dim;
            return TensorMap{{"x", context.normal("rope.x", {2, 13, 3, dim})},
                             {"positions", hunting_positions()}};
          },
      .reference =
          [](const SuiteContext& context, const TensorMap& in) {
            const at::Tensor& positions = in.at("positions");
            return Outputs{
                {"interleaved", reference_rotation(context, in.at("x"), positions, true)},
                {"half_split", reference_rotation(context, in.at("x"), positions, false)}};
          },
      .candidate =
          [](const SuiteContext& context, const TensorMap& in) {
            const core::ModelConfig& config = context.config();
            const at::Tensor& x = in.at("x");
            const at::Tensor& positions = in.at("positions");
            return Outputs{
                {"interleaved",
                 evens_first_undone(candidate_rotation(config, evens_first(x), positions, false))},
                {"half_split",
                 evens_first(candidate_rotation(config, evens_first_undone(x), positions, true))}};
          },
  });
}

}  // namespace

std::vector<cases::Case> rope_relation_cases() {
  return {
      position_zero_case(),
      shift_case("a_common_shift_leaves_main_logits", true),
      shift_case("a_common_shift_leaves_index_logits", false),
      permutation_case(),
  };
}

}  // namespace sparity::suites
