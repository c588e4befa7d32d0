#include "src/core/forward_options.h"

namespace sparity::core {

std::string_view to_string(Recipe recipe) {
  return recipe == Recipe::kOfficial ? "official" : "hf";
}

std::optional<Recipe> recipe_from_string(std::string_view name) {
  for (const Recipe recipe : {Recipe::kOfficial, Recipe::kHf}) {
    if (name == to_string(recipe)) {
      return recipe;
    }
  }
  return std::nullopt;
}

std::string_view to_string(AttentionMode mode) {
  return mode == AttentionMode::kSparse ? "sparse" : "dense";
}

std::optional<AttentionMode> attention_mode_from_string(std::string_view name) {
  for (const AttentionMode mode : {AttentionMode::kSparse, AttentionMode::kDense}) {
    if (name == to_string(mode)) {
      return mode;
    }
  }
  return std::nullopt;
}

}  // namespace sparity::core
