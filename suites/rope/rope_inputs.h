#pragma once

#include "src/core/model_config.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace sparity::suites {

/// One way in which `rope_parameters` can be written, on an otherwise untouched config.
struct RopeForm {
  std::string name;
  core::ModelConfig config;
};

/// `config` as it is, without YaRN, and with every spelling of YaRN's numbers that takes a branch
/// of its own: factor 1, missing and unequal mscale, a given attention factor, a ramp of no width,
/// and ramps that end at the first or last pair; for rope heads of 2, 6, 16 and 64 channels.
std::vector<RopeForm> rope_forms(const core::ModelConfig& config);

/// The form of that name.
RopeForm rope_form(const core::ModelConfig& config, const std::string& name);

/// I64 [2, 13]: positions out of order, from 0 to beyond any context, different in each row.
at::Tensor hunting_positions();

/// I64 [rows, columns], every element `value`.
at::Tensor constant_positions(std::int64_t rows, std::int64_t columns, std::int64_t value);

}  // namespace sparity::suites
