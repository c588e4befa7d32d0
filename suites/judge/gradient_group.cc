#include "suites/judge/gradient_group.h"

#include "src/core/error.h"

#include <algorithm>

namespace sparity::judge {

std::string gradient_group(std::string_view parameter) {
  constexpr std::string_view kExperts = ".mlp.experts.";
  const std::size_t found = parameter.find(kExperts);
  if (found == std::string_view::npos) {
    return std::string(parameter);
  }
  const std::size_t number = found + kExperts.size();
  const std::size_t end = parameter.find_first_not_of("0123456789", number);
  const bool numbered = end != number && end != std::string_view::npos && parameter[end] == '.';
  return numbered
             ? std::string(parameter.substr(0, number)) + std::string(parameter.substr(end + 1))
             : std::string(parameter);
}

Tensor stacked(const std::vector<const Tensor*>& members) {
  SPARITY_CHECK(!members.empty(), "no tensor to stack");
  const Tensor& first = *members.front();
  if (members.size() == 1) {
    return first;
  }
  Tensor result{.dtype = first.dtype, .shape = first.shape, .values = {}};
  result.shape.insert(result.shape.begin(), static_cast<std::int64_t>(members.size()));
  for (const Tensor* member : members) {
    SPARITY_CHECK(member->shape == first.shape && member->dtype == first.dtype,
                  "tensors to stack differ in shape or dtype");
    result.values.insert(result.values.end(), member->values.begin(), member->values.end());
  }
  return result;
}

}  // namespace sparity::judge
