#pragma once

#include <map>
#include <type_traits>
#include <utility>
#include <vector>

namespace sparity::reports {

/// The items of two lists that have the same key: those of `after` in their order, each with its
/// partner of `before` or null, then those of `before` that have none. What has one key twice is
/// paired in order. Borrows from both lists.
template <typename Item, typename KeyOf>
std::vector<std::pair<const Item*, const Item*>> pair_up(const std::vector<Item>& before,
                                                         const std::vector<Item>& after,
                                                         KeyOf key_of) {
  using Key = std::decay_t<std::invoke_result_t<KeyOf, const Item&>>;
  using Place = std::pair<Key, std::size_t>;  // the how-manieth of its key
  const auto places_of = [&](const std::vector<Item>& items) {
    std::map<Key, std::size_t> uses;
    std::vector<Place> places;
    for (const Item& item : items) {
      const Key key = key_of(item);
      places.emplace_back(key, uses[key]++);
    }
    return places;
  };
  const std::vector<Place> old_places = places_of(before);
  const std::vector<Place> new_places = places_of(after);
  std::map<Place, const Item*> alone;
  for (std::size_t index = 0; index < before.size(); ++index) {
    alone[old_places[index]] = &before[index];
  }
  std::vector<std::pair<const Item*, const Item*>> pairs;
  for (std::size_t index = 0; index < after.size(); ++index) {
    const auto partner = alone.find(new_places[index]);
    pairs.emplace_back(partner == alone.end() ? nullptr : partner->second, &after[index]);
    if (partner != alone.end()) {
      alone.erase(partner);
    }
  }
  for (std::size_t index = 0; index < before.size(); ++index) {
    if (alone.contains(old_places[index])) {
      pairs.emplace_back(&before[index], nullptr);
    }
  }
  return pairs;
}

}  // namespace sparity::reports
