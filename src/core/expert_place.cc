#include "src/core/expert_place.h"

#include "src/core/error.h"

#include <fmt/format.h>

#include <string_view>

namespace sparity::core {

namespace {

constexpr std::string_view kInfix = ".mlp.experts.";

}  // namespace

std::string module_of(const std::string& parameter) {
  return parameter.substr(0, parameter.rfind('.'));
}

bool lies_in_experts(const std::string& name) { return name.find(kInfix) != std::string::npos; }

ExpertPlace expert_place(const std::string& module) {
  SPARITY_CHECK(lies_in_experts(module), fmt::format("{}: no routed expert's matrix", module));
  const std::size_t number = module.find(kInfix) + kInfix.size();
  const std::size_t dot = module.find('.', number);
  const std::string_view leaf = std::string_view(module).substr(dot + 1);
  ExpertPlace place;
  place.experts = module.substr(0, number - 1);
  place.expert = std::stoll(module.substr(number, dot - number));
  place.fused = leaf != "down_proj";
  place.second = leaf == "up_proj";
  place.stacked = place.experts + (place.fused ? ".gate_up_proj" : ".down_proj");
  return place;
}

}  // namespace sparity::core
