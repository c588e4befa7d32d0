#pragma once

#include <optional>
#include <string_view>

namespace sparity::core {

/// Where an honest implementation rounds to the activation dtype (D-04, D-27, D-28, D-32, D-33,
/// D-34): as DeepSeek's inference code does, or as Hugging Face transformers does. In float32 and
/// float64 the two only differ in the order of sums.
enum class Recipe { kOfficial, kHf };

/// Which keys a query may attend to: its top `index_topk` valid keys, or every valid key (D-59).
enum class AttentionMode { kSparse, kDense };

std::string_view to_string(Recipe recipe);  // "official", "hf"
std::optional<Recipe> recipe_from_string(std::string_view name);
std::string_view to_string(AttentionMode mode);  // "sparse", "dense"
std::optional<AttentionMode> attention_mode_from_string(std::string_view name);

}  // namespace sparity::core
