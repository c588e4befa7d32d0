#include "suites/cli/dump_set.h"

#include "src/core/error.h"
#include "src/core/forward_options.h"
#include "src/core/strict_json.h"
#include "src/tensors/input_file.h"
#include "suites/cli/dump_origin.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace sparity::cli {

namespace {

/// What one file says of a thing that all must agree on.
struct Statement {
  std::string source;
  std::string value;
};

/// Truth first: what contradicts it is the other's fault.
std::vector<const Dump*> dumps_of(const DumpSet& set) {
  std::vector<const Dump*> dumps = {&set.truth};
  if (set.baseline) {
    dumps.push_back(&*set.baseline);
  }
  dumps.push_back(&set.candidate);
  return dumps;
}

void check_distinct_files(const CompareOptions& options) {
  const auto same = [](const std::string& a, const std::string& b) {
    std::error_code failure;
    return std::filesystem::equivalent(a, b, failure);
  };
  SPARITY_CHECK_INPUT(
      !same(options.candidate, options.truth),
      fmt::format("--truth: expected another file than CANDIDATE, found {}", options.truth));
  SPARITY_CHECK_INPUT(
      !same(options.candidate, options.baseline),
      fmt::format("--baseline: expected another file than CANDIDATE, found {}", options.baseline));
  SPARITY_CHECK_INPUT(
      !same(options.truth, options.baseline),
      fmt::format("--baseline: expected another file than --truth, found {}", options.baseline));
}

std::optional<core::Dtype> recorded_dtype(const Dump& dump) {
  const std::optional<std::string> word = recorded(dump, "dtype");
  if (!word) {
    return std::nullopt;
  }
  const auto dtype = core::dtype_from_string(*word);
  if (!dtype || !core::is_floating(*dtype) || *dtype == core::Dtype::kF16) {
    refuse_metadata(dump, "dtype", "float32, bfloat16 or float64", core::quote(*word));
  }
  return dtype;
}

/// The first tensor stored in `dtype`, or null.
const std::string* stored_in(const Dump& dump, core::Dtype dtype) {
  const auto found =
      std::ranges::find_if(dump.stored, [&](const auto& entry) { return entry.second == dtype; });
  return found == dump.stored.end() ? nullptr : &found->first;
}

/// The dtype of a dump that does not record it, from what its tensors are stored in.
core::Dtype inferred_dtype(const Dump& dump, std::string& why) {
  for (const core::Dtype dtype : {core::Dtype::kF64, core::Dtype::kBF16}) {
    if (const std::string* name = stored_in(dump, dtype)) {
      why = fmt::format("'{}' is stored in {}", *name, core::safetensors_name(dtype));
      return dtype;
    }
  }
  refuse_metadata(
      dump, "dtype", "float32, bfloat16 or float64",
      "none, and tensors in F32 may be of a float32 or of a bfloat16 run; say which by --dtype");
}

core::Dtype candidate_dtype(const Dump& candidate, const std::optional<core::Dtype>& flag,
                            std::vector<judge::Condition>& conditions) {
  const std::optional<core::Dtype> known = recorded_dtype(candidate);
  if (known && flag && *known != *flag) {
    refuse_metadata(candidate, "dtype", fmt::format("{} (--dtype)", core::to_string(*flag)),
                    std::string(core::to_string(*known)));
  }
  std::string why = "--dtype says so";
  const core::Dtype dtype = known ? *known : flag ? *flag : inferred_dtype(candidate, why);
  const std::string detail =
      known ? std::string(core::to_string(dtype))
            : fmt::format("{} has no metadata 'dtype'; {} is assumed, because {}", candidate.path,
                          core::to_string(dtype), why);
  conditions.push_back({"the candidate records its dtype", known.has_value(), false, detail});
  return dtype;
}

/// Truth and baseline are what their flags ask for, as far as they say.
void check_roles(const DumpSet& set) {
  const auto check = [](const Dump& dump, core::Dtype expected, std::string_view whose) {
    const std::optional<core::Dtype> dtype = recorded_dtype(dump);
    if (dtype && *dtype != expected) {
      refuse_metadata(dump, "dtype", fmt::format("{}{}", core::to_string(expected), whose),
                      std::string(core::to_string(*dtype)));
    }
  };
  check(set.truth, core::Dtype::kF64, "");
  if (set.baseline) {
    check(*set.baseline, set.dtype, " as of the candidate");
  }
}

/// Every statement must be the first one's; `silent` files made none.
void check_agreement(const std::string& key, const std::vector<Statement>& statements,
                     const std::vector<std::string>& silent, DumpSet& set) {
  for (const Statement& statement : statements) {
    SPARITY_CHECK_INPUT(statement.value == statements.front().value,
                        fmt::format("{}: metadata '{}': expected {} as in {}, found {}",
                                    statement.source, key, core::quote(statements.front().value),
                                    statements.front().source, core::quote(statement.value)));
  }
  set.conditions.push_back({fmt::format("all files agree in '{}'", key), silent.empty(), false,
                            silent.empty()
                                ? core::quote(statements.front().value)
                                : fmt::format("not recorded in {}", fmt::join(silent, ", "))});
}

void check_key(const std::string& key, std::optional<Statement> known,
               const std::vector<const Dump*>& dumps, DumpSet& set) {
  std::vector<Statement> statements;
  std::vector<std::string> silent;
  if (known) {
    statements.push_back(*known);
  }
  for (const Dump* dump : dumps) {
    const std::optional<std::string> value = recorded(*dump, key);
    // Other frameworks mean their kernels by 'attention'.
    const bool foreign =
        key == "attention" && value && !core::attention_mode_from_string(*value).has_value();
    if (value && !foreign) {
      statements.push_back({dump->path, *value});
    } else {
      silent.push_back(dump->path);
    }
  }
  check_agreement(key, statements, silent, set);
}

void check_identity(const CompareOptions& options, DumpSet& set) {
  const std::vector<const Dump*> dumps = dumps_of(set);
  std::optional<Statement> config;
  std::optional<Statement> inputs;
  if (set.config) {
    config = {options.model, core::config_hash(*set.config)};
  }
  if (set.inputs) {
    inputs = {options.inputs, tensors::inputs_hash(*set.inputs)};
  }
  check_key("config_hash", config, dumps, set);
  check_key("inputs_hash", inputs, dumps, set);
  check_key("adapters_hash", std::nullopt, dumps, set);
  check_key("attention", std::nullopt, dumps, set);
  if (set.baseline && set.dtype == core::Dtype::kBF16) {
    check_key("recipe", std::nullopt, {&set.candidate, &*set.baseline}, set);
  }
}

/// In a dump of a run in `run`.
bool may_be_stored_in(core::Dtype stored, const std::string& name, core::Dtype run) {
  if (is_choice(name)) {
    return stored == core::Dtype::kI64 || stored == core::Dtype::kI32;
  }
  return run == core::Dtype::kF64 ? stored == core::Dtype::kF64
                                  : core::is_floating(stored) && stored != core::Dtype::kF64;
}

void check_stored(const Dump& dump, core::Dtype run) {
  for (const auto& [name, stored] : dump.stored) {
    SPARITY_CHECK_INPUT(
        may_be_stored_in(stored, name, run),
        fmt::format("{}: tensor '{}': expected {} in a {} dump, found {}", dump.path, name,
                    is_choice(name)            ? "I64 or I32"
                    : run == core::Dtype::kF64 ? "F64"
                                               : "F32, BF16 or F16",
                    core::to_string(run), core::safetensors_name(stored)));
  }
}

void check_tensors(const DumpSet& set) {
  check_stored(set.truth, core::Dtype::kF64);
  if (set.baseline) {
    check_stored(*set.baseline, set.dtype);
  }
  check_stored(set.candidate, set.dtype);
}

void check_inputs_shape(const CompareOptions& options, const DumpSet& set) {
  const auto rows_and_tokens = [](const judge::Tensor& tensor) {
    return std::vector<std::int64_t>(
        tensor.shape.begin(),
        tensor.shape.begin() + std::min<std::ptrdiff_t>(2, std::ssize(tensor.shape)));
  };
  for (const Dump* dump : dumps_of(set)) {
    for (const auto& [name, tensor] : dump->tensors) {
      const bool has_rows = name == "logits" || name.starts_with("trace.");
      SPARITY_CHECK_INPUT(
          dump == &set.candidate || !has_rows ||
              rows_and_tokens(tensor) == set.inputs->input_ids.sizes().vec(),
          fmt::format("{}: 'input_ids': expected the rows and tokens of '{}' in {}, {}, found {}",
                      options.inputs, name, dump->path, judge::describe_shape(tensor.shape),
                      judge::describe_shape(set.inputs->input_ids.sizes().vec())));
    }
  }
}

}  // namespace

DumpSet read_dumps(const CompareOptions& options) {
  check_distinct_files(options);
  DumpSet set;
  set.candidate = read_dump(options.candidate);
  set.truth = read_dump(options.truth);
  if (!options.baseline.empty()) {
    set.baseline = read_dump(options.baseline);
  }
  if (!options.model.empty()) {
    set.config = core::read_model_config(options.model).config;
  }
  set.dtype = candidate_dtype(set.candidate, options.dtype, set.conditions);
  check_roles(set);
  check_origin(options, set);
  if (!options.inputs.empty()) {
    set.inputs = set.config ? tensors::read_inputs(options.inputs, *set.config)
                            : tensors::read_input_file(options.inputs);
    check_inputs_shape(options, set);
  }
  check_identity(options, set);
  check_tensors(set);
  return set;
}

}  // namespace sparity::cli
