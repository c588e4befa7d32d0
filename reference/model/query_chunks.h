#pragma once

#include <cstdint>

namespace sparity::reference::model {

/// How many of `queries` to take at a time so that what each of them needs, `bytes_per_query`,
/// stays within 256 MiB together; at least one.
std::int64_t queries_per_chunk(std::int64_t queries, std::int64_t bytes_per_query);

}  // namespace sparity::reference::model
