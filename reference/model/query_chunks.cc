#include "reference/model/query_chunks.h"

#include <algorithm>

namespace sparity::reference::model {

std::int64_t queries_per_chunk(std::int64_t queries, std::int64_t bytes_per_query) {
  constexpr std::int64_t kWorkspaceBytes = std::int64_t{256} << 20;
  const std::int64_t fitting = kWorkspaceBytes / std::max<std::int64_t>(bytes_per_query, 1);
  return std::clamp<std::int64_t>(fitting, 1, std::max<std::int64_t>(queries, 1));
}

}  // namespace sparity::reference::model
