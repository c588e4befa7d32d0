#pragma once

#include <nlohmann/json.hpp>

#include <vector>

namespace sparity::judge {

/// [convert(item), …] of every item.
template <typename Item, typename Convert>
nlohmann::json array_of(const std::vector<Item>& items, Convert convert) {
  nlohmann::json array = nlohmann::json::array();
  for (const Item& item : items) {
    array.push_back(convert(item));
  }
  return array;
}

}  // namespace sparity::judge
