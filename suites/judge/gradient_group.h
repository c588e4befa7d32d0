#pragma once

#include "suites/judge/tensor.h"

#include <string>
#include <string_view>
#include <vector>

namespace sparity::judge {

/// The name under which a parameter's gradient is judged: "….mlp.experts.7.up_proj.weight" →
/// "….mlp.experts.up_proj.weight"; others keep theirs. A layer's experts go together: one that saw
/// two tokens has a gradient of rank two, whose few independent errors scatter more than a ratio of
/// two errors allows.
std::string gradient_group(std::string_view parameter);

/// Tensors of one shape and dtype as one, [members, …]; of a single one that one itself. Throws
/// (exit code 6) for none, or for tensors that differ.
Tensor stacked(const std::vector<const Tensor*>& members);

}  // namespace sparity::judge
