#include "suites/rope/rope_cases.h"

#include "reference/model/rope.h"
#include "reference/scalar/rope.h"
#include "src/ops/rope.h"
#include "suites/rope/rope_inputs.h"
#include "suites/rope/rope_relations.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <span>
#include <utility>

namespace sparity::suites {

namespace {

using cases::OpClaim;
using cases::Outputs;
using cases::SuiteContext;
using cases::TensorMap;

namespace reference = sparity::reference::model;
namespace scalar = sparity::reference::scalar;

/// Frequencies of a form by plain loops.
std::vector<float> scalar_frequencies(const core::ModelConfig& config) {
  const core::RopeParameters& rope = config.rope_parameters;
  const auto dim = static_cast<std::size_t>(config.qk_rope_head_dim);
  if (rope.rope_type != core::RopeType::kYarn) {
    return scalar::inverse_frequencies(rope.rope_theta, dim);
  }
  return scalar::yarn_inverse_frequencies(rope.rope_theta, dim,
                                          {.factor = rope.factor,
                                           .original_max_position_embeddings = static_cast<double>(
                                               rope.original_max_position_embeddings),
                                           .beta_fast = rope.beta_fast,
                                           .beta_slow = rope.beta_slow});
}

/// "name.form" for every form, each made by `value`.
template <typename Value>
Outputs over_forms(const SuiteContext& context, const std::string& name, Value value) {
  Outputs outputs;
  for (const RopeForm& form : rope_forms(context.config())) {
    outputs.emplace_back(name + "." + form.name, value(form.config));
  }
  return outputs;
}

std::vector<std::string> form_names(const std::string& name) {
  std::vector<std::string> names;
  for (const RopeForm& form : rope_forms({})) {
    names.push_back(name + "." + form.name);
  }
  return names;
}

TensorMap no_inputs(const SuiteContext&) { return {}; }

cases::Case frequencies_case() {
  return cases::op_case({
      .suite = "rope",
      .name = "frequencies_equal_the_reference_bit_for_bit",
      .inputs = no_inputs,
      .reference =
          [](const SuiteContext& context, const TensorMap&) {
            return over_forms(context, "inverse_frequencies", reference::inverse_frequencies);
          },
      .candidate =
          [](const SuiteContext& context, const TensorMap&) {
            return over_forms(context, "inverse_frequencies", ops::inverse_frequencies);
          },
      .exact = form_names("inverse_frequencies"),
  });
}

cases::Case scalar_frequencies_case() {
  return cases::op_case({
      .suite = "rope",
      .name = "frequencies_equal_scalar_loops_bit_for_bit",
      .inputs = no_inputs,
      .reference =
          [](const SuiteContext& context, const TensorMap&) {
            return over_forms(context, "inverse_frequencies", [](const core::ModelConfig& config) {
              return at::tensor(scalar_frequencies(config), at::kFloat);
            });
          },
      .candidate =
          [](const SuiteContext& context, const TensorMap&) {
            return over_forms(context, "inverse_frequencies", ops::inverse_frequencies);
          },
      .exact = form_names("inverse_frequencies"),
  });
}

/// One rope form's table. The dtype comes in with an input, for positions are integers.
cases::Case table_case(const std::string& form) {
  return cases::op_case({
      .suite = "rope",
      .name = "rotary_table." + form,
      .inputs =
          [](const SuiteContext& context) {
            return TensorMap{{"positions", hunting_positions()},
                             {"dtype", context.normal("rope.dtype", {1})}};
          },
      .reference =
          [form](const SuiteContext& context, const TensorMap& in) {
            const reference::RotaryTable table = reference::rotary_table(
                rope_form(context.config(), form).config, in.at("positions"),
                in.at("dtype").scalar_type(), context.options().recipe);
            return Outputs{{"cos", table.cos}, {"sin", table.sin}};
          },
      .candidate =
          [form](const SuiteContext& context, const TensorMap& in) {
            const at::Tensor table =
                ops::rotary_table(rope_form(context.config(), form).config, in.at("positions"),
                                  in.at("dtype").scalar_type())
                    .cos_sin;
            return Outputs{{"cos", table.select(-1, 0)}, {"sin", table.select(-1, 1)}};
          },
  });
}

/// x [B, S, heads, Dr] in float64 turned head by head, by plain loops.
at::Tensor scalar_rotation(const core::ModelConfig& config, const at::Tensor& x,
                           const at::Tensor& positions, bool interleaved) {
  const std::vector<float> frequencies = scalar_frequencies(config);
  const double factor = reference::attention_factor(config);
  const at::Tensor in = x.contiguous();
  at::Tensor out = at::empty_like(in);
  const auto width = static_cast<std::size_t>(x.size(3));
  const double* rows = in.const_data_ptr<double>();
  double* turned = out.mutable_data_ptr<double>();
  const auto* position = positions.const_data_ptr<std::int64_t>();
  for (std::int64_t head = 0; head < in.numel() / x.size(3); ++head) {
    const std::span<const double> row(rows + head * x.size(3), width);
    const auto at = static_cast<double>(position[head / x.size(2)]);
    const std::vector<double> result =
        interleaved ? scalar::rotate_interleaved(row, at, frequencies, factor)
                    : scalar::rotate_half_split(row, at, frequencies, factor);
    std::memcpy(turned + head * x.size(3), result.data(), width * sizeof(double));
  }
  return out;
}

/// x [2, 13, heads, dim] that is a slice of a wider tensor with its axes swapped.
at::Tensor strided(const SuiteContext& context, std::int64_t heads, std::int64_t dim) {
  return context.normal("rope.x", {2, heads, 13, dim + 3}).narrow(-1, 1, dim).transpose(1, 2);
}

/// What a rotation is tried on.
struct RotationClaim {
  std::string name;
  std::string form;  // a rope form's name; decides the head's width
  std::int64_t heads = 1;
  double spread = 1.0;
  bool by_loops = false;  // truth by scalar loops
};

cases::Case rotation_case(const RotationClaim& claim) {
  return cases::op_case({
      .suite = "rope",
      .name = claim.name,
      .inputs =
          [claim](const SuiteContext& context) {
            const std::int64_t dim =
                rope_form(context.config(), claim.form).config.qk_rope_head_dim;
            return TensorMap{{"x", strided(context, claim.heads, dim).mul(claim.spread)},
                             {"positions", hunting_positions()}};
          },
      .reference =
          [claim](const SuiteContext& context, const TensorMap& in) {
            const core::ModelConfig config = rope_form(context.config(), claim.form).config;
            const at::Tensor& x = in.at("x");
            if (claim.by_loops && x.scalar_type() == at::kDouble) {
              return Outputs{
                  {"rotate_interleaved", scalar_rotation(config, x, in.at("positions"), true)},
                  {"rotate_half_split", scalar_rotation(config, x, in.at("positions"), false)}};
            }
            const reference::RotaryTable table = reference::rotary_table(
                config, in.at("positions"), x.scalar_type(), context.options().recipe);
            return Outputs{{"rotate_interleaved", reference::rotate_interleaved(x, table)},
                           {"rotate_half_split", reference::rotate_half_split(x, table)}};
          },
      .candidate =
          [claim](const SuiteContext& context, const TensorMap& in) {
            const at::Tensor& x = in.at("x");
            const ops::RotaryTable table =
                ops::rotary_table(rope_form(context.config(), claim.form).config,
                                  in.at("positions"), x.scalar_type());
            return Outputs{{"rotate_interleaved", ops::rotate_interleaved(x, table)},
                           {"rotate_half_split", ops::rotate_half_split(x, table)}};
          },
  });
}

at::Tensor scalars(const SuiteContext& context, double (*value)(const core::ModelConfig&)) {
  std::vector<double> values;
  for (const RopeForm& form : rope_forms(context.config())) {
    values.push_back(value(form.config));
  }
  return at::tensor(values, at::kDouble);
}

/// The scale by plain loops; they know YaRN with `mscale_all_dim`, and without it its factor is 0.
double scalar_softmax_scale(const core::ModelConfig& config) {
  const core::RopeParameters& rope = config.rope_parameters;
  const bool yarn = rope.rope_type == core::RopeType::kYarn;
  return scalar::yarn_softmax_scale(static_cast<double>(config.qk_head_dim()),
                                    yarn ? rope.factor : 1.0, rope.mscale_all_dim.value_or(0.0));
}

cases::Case scalars_case() {
  return cases::op_case({
      .suite = "rope",
      .name = "softmax_scale_and_attention_factor_of_every_form",
      .inputs = no_inputs,
      .reference =
          [](const SuiteContext& context, const TensorMap&) {
            return Outputs{
                {"softmax_scale", scalars(context, reference::softmax_scale)},
                {"softmax_scale by scalar loops", scalars(context, scalar_softmax_scale)},
                {"attention_factor", scalars(context, reference::attention_factor)}};
          },
      .candidate =
          [](const SuiteContext& context, const TensorMap&) {
            return Outputs{{"softmax_scale", scalars(context, ops::softmax_scale)},
                           {"softmax_scale by scalar loops", scalars(context, ops::softmax_scale)},
                           {"attention_factor", scalars(context, ops::attention_factor)}};
          },
  });
}

}  // namespace

std::vector<cases::Case> rope_cases() {
  std::vector<cases::Case> all = {
      frequencies_case(),
      scalar_frequencies_case(),
      table_case("config"),
      table_case("plain.6"),
      table_case("released.64"),
      table_case("unequal_mscale.16"),
      table_case("given_attention_factor.2"),
      scalars_case(),
      rotation_case({.name = "rotations", .form = "config", .heads = 5}),
      rotation_case(
          {.name = "rotations_by_scalar_loops", .form = "config", .heads = 3, .by_loops = true}),
      rotation_case({.name = "rotations_of_one_pair", .form = "yarn.2", .heads = 7}),
      rotation_case({.name = "rotations_of_three_pairs_by_scalar_loops",
                     .form = "no_mscale.6",
                     .heads = 1,
                     .by_loops = true}),
      rotation_case(
          {.name = "rotations_of_large_values", .form = "released.64", .heads = 2, .spread = 3e4}),
      rotation_case({.name = "rotations_of_small_values",
                     .form = "unequal_mscale.16",
                     .heads = 2,
                     .spread = 1e-6}),
  };
  std::ranges::move(rope_relation_cases(), std::back_inserter(all));
  return all;
}

}  // namespace sparity::suites
