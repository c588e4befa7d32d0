#include "src/train/train_options.h"

#include "src/core/error.h"
#include "src/core/json_fields.h"
#include "src/core/strict_json.h"
#include "src/train/option_fields.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sparity::train {

namespace {

/// Reads the members that are there.
class Reader {
 public:
  Reader(core::JsonFields& fields, Stage stage) : fields_(fields), stage_(stage) {}

  template <typename Value>
  void operator()(const OptionField& field, Value& value) {
    const nlohmann::json* member = fields_.find(field.name);
    if (member == nullptr) {
      return;
    }
    if (const char* expected = refusal(field.of, stage_)) {
      fields_.fail(field.name, expected, core::describe(*member));
    }
    read(field, *member, value);
  }

 private:
  void read(const OptionField& field, const nlohmann::json&, std::int64_t& value) {
    value = fields_.integer(field.name, value, static_cast<std::int64_t>(field.least),
                            static_cast<std::int64_t>(field.most));
  }
  void read(const OptionField& field, const nlohmann::json&, double& value) {
    value = fields_.number(field.name, value, field.least, field.most);
  }
  void read(const OptionField& field, const nlohmann::json&, std::optional<double>& value) {
    value = fields_.optional_number(field.name, field.least, field.most);
  }
  void read(const OptionField& field, const nlohmann::json&, bool& value) {
    value = fields_.boolean(field.name, value);
  }
  void read(const OptionField& field, const nlohmann::json& member, core::Dtype& value) {
    const std::optional<core::Dtype> found =
        member.is_string() ? core::dtype_from_string(member.get<std::string>()) : std::nullopt;
    const bool activation =
        found == core::Dtype::kF32 || found == core::Dtype::kBF16 || found == core::Dtype::kF64;
    if (!activation) {
      fields_.fail(field.name, "float32, bfloat16 or float64", core::describe(member));
    }
    value = *found;
  }
  void read(const OptionField& field, const nlohmann::json& member, core::Recipe& value) {
    const std::optional<core::Recipe> found =
        member.is_string() ? core::recipe_from_string(member.get<std::string>()) : std::nullopt;
    if (!found) {
      fields_.fail(field.name, "official or hf", core::describe(member));
    }
    value = *found;
  }
  template <typename Option>
  void read(const OptionField& field, const nlohmann::json& member, Option& value) {
    const std::optional<Option> found =
        member.is_string() ? core::option_of<Option>(member.get<std::string>()) : std::nullopt;
    if (!found) {
      fields_.fail(field.name, "one of " + listed_words<Option>(), core::describe(member));
    }
    value = *found;
  }

  core::JsonFields& fields_;
  Stage stage_;
};

/// Writes the options that the stage has.
class Writer {
 public:
  Writer(nlohmann::json& object, Stage stage) : object_(object), stage_(stage) {}

  template <typename Value>
  void operator()(const OptionField& field, const Value& value) {
    if (refusal(field.of, stage_) == nullptr) {
      object_[std::string(field.name)] = json_of(value);
    }
  }

 private:
  static nlohmann::json json_of(std::int64_t value) { return value; }
  static nlohmann::json json_of(double value) { return value; }
  static nlohmann::json json_of(bool value) { return value; }
  static nlohmann::json json_of(const std::optional<double>& value) {
    return value ? nlohmann::json(*value) : nlohmann::json();
  }
  static nlohmann::json json_of(core::Dtype value) { return core::to_string(value); }
  static nlohmann::json json_of(core::Recipe value) { return core::to_string(value); }
  template <typename Option>
  static nlohmann::json json_of(Option value) {
    return core::word_of(value);
  }

  nlohmann::json& object_;
  Stage stage_;
};

}  // namespace

const char* refusal(OptionOf of, Stage stage) {
  const StageRules rules = rules_of(stage);
  switch (of) {
    case OptionOf::kAnyStage:
      return nullptr;
    case OptionOf::kKlStage:
      return rules.wants_kl() ? nullptr : "no such option in a stage that does not train indexers";
    case OptionOf::kJointStage:
      return stage == Stage::kJoint ? nullptr
                                    : "no such option but in stage joint: the others detach both";
    case OptionOf::kModelStage:
      return rules.trains_model ? nullptr : "no such option in a stage that trains indexers alone";
  }
  return nullptr;
}

model::ForwardOptions TrainOptions::forward_options() const {
  const StageRules rules = rules_of(stage);
  model::ForwardOptions options;
  options.attention = rules.attention;
  options.recompute_layers = recompute_layers;
  options.objective.lm = rules.wants_lm();
  if (rules.wants_kl()) {
    options.objective.kl = kl;
  }
  options.objective.balance = balance;
  return options;
}

TrainOptions defaults_of(Stage stage) {
  TrainOptions options;
  options.stage = stage;
  if (stage == Stage::kDualLora) {
    options.clip_scope = ClipScope::kGroup;
  }
  if (stage == Stage::kPretrain) {
    options.balance.coefficient = 1e-4;
    options.bias_update_rate = 1e-3;
  }
  return options;
}

void apply(const nlohmann::json& object, const std::string& source, TrainOptions& options) {
  core::JsonFields fields(object, source);
  if (const std::optional<std::string> stage = fields.text("stage")) {
    if (stage_from_string(*stage, source) != options.stage) {
      fields.fail("stage", std::string(core::word_of(options.stage)), core::quote(*stage));
    }
  }
  visit_options(options, Reader(fields, options.stage));
  for (const std::string& pointer : fields.unread()) {
    SPARITY_FAIL_INPUT(fmt::format(
        "{}: {}: expected an option of sparity train, found an unknown one", source, pointer));
  }
}

void settle(TrainOptions& options) {
  SPARITY_CHECK_INPUT(
      options.recipe == core::Recipe::kOfficial || options.dtype != core::Dtype::kBF16,
      "recipe: training rounds bfloat16 as the official recipe does; expected official, found hf");
  SPARITY_CHECK_INPUT(options.adamw.beta1 < 1 && options.adamw.beta2 < 1,
                      "beta1, beta2: expected numbers below 1");
  SPARITY_CHECK_INPUT(!options.indexer_clip || options.clip_scope == ClipScope::kGroup,
                      "indexer_clip: expected clip_scope group beside it, found all, which has one "
                      "norm for everything");
  if (options.schedule.total_steps == 0) {
    options.schedule.total_steps = options.steps;
  }
  SPARITY_CHECK_INPUT(options.schedule.kind == core::ScheduleKind::kConstant ||
                          options.schedule.warmup_steps <= options.schedule.total_steps,
                      fmt::format("warmup: expected at most the cosine's {} steps, found {}",
                                  options.schedule.total_steps, options.schedule.warmup_steps));
}

nlohmann::json to_json(const TrainOptions& options) {
  nlohmann::json object;
  object["stage"] = core::word_of(options.stage);
  visit_options(options, Writer(object, options.stage));
  return object;
}

nlohmann::json deciding_options(const TrainOptions& options) {
  nlohmann::json object = to_json(options);
  for (const char* name : {"steps", "save_every", "validate_every", "recompute_layers"}) {
    object.erase(name);
  }
  if (options.schedule.kind == core::ScheduleKind::kConstant) {
    object.erase("schedule_steps");
    object.erase("least_fraction");
  }
  return object;
}

}  // namespace sparity::train
