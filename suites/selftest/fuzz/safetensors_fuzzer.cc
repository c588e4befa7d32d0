#include "src/core/safetensors.h"
#include "suites/selftest/fuzz/fuzz_target.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

namespace sparity::fuzz {
namespace {

/// What a header that was accepted promises to whoever allocates and reads by it.
void check_promises(const core::SafetensorsHeader& header, std::uint64_t file_size) {
  std::uint64_t total = 0;
  for (const auto& [name, entry] : header.tensors) {
    demand(!name.empty() && name.size() <= 512, "names are bounded");
    demand(entry.shape.size() <= 8, "ranks are bounded");
    std::uint64_t bytes = core::size_of(entry.dtype);
    for (const std::int64_t dim : entry.shape) {
      demand(dim >= 0, "dimensions are not negative");
      bytes *= static_cast<std::uint64_t>(dim);
    }
    demand(entry.begin <= entry.end && entry.end - entry.begin == bytes, "bytes follow the shape");
    demand(entry.end <= file_size - header.data_offset, "data lie in the file");
    total += bytes;
  }
  demand(header.data_offset + total == file_size, "the file is covered once");
}

}  // namespace
}  // namespace sparity::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace sparity;
  const auto read = [](std::span<const std::byte> file) {
    fuzz::refuse_or_read([&] {
      fuzz::check_promises(core::parse_safetensors_header(file, file.size(), fuzz::kSource),
                           file.size());
    });
  };
  const auto input = std::as_bytes(std::span(bytes, size));
  read(input);
  // Once more with a length that fits: a mutation of the header mostly leaves one that does not.
  std::vector<std::byte> repaired(input.begin(), input.end());
  const auto last_brace = std::find(repaired.rbegin(), repaired.rend(), std::byte{'}'}).base();
  const std::uint64_t length = static_cast<std::uint64_t>(last_brace - repaired.begin()) - 8;
  if (last_brace - repaired.begin() > 8) {
    std::memcpy(repaired.data(), &length, sizeof(length));
    read(repaired);
  }
  return 0;
}
