#include "src/core/safetensors.h"

#include "src/core/error.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace sparity::core {

namespace {

SafetensorsHeader read_header(const InputFile& file) {
  const std::string source = file.path().string();
  std::array<std::byte, 8> first = {};
  if (file.size() < first.size()) {
    return parse_safetensors_header({}, file.size(), source);  // says what is wrong
  }
  file.read(0, first);
  const std::uint64_t length = safetensors_header_length(first, file.size(), source);
  std::vector<std::byte> prefix(first.size() + length);
  file.read(0, prefix);
  return parse_safetensors_header(prefix, file.size(), source);
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), header_(read_header(file_)) {}

const TensorEntry& SafetensorsFile::at(const std::string& name) const {
  const auto entry = header_.tensors.find(name);
  SPARITY_CHECK_INPUT(entry != header_.tensors.end(),
                      fmt::format("{}: {}: expected a tensor of this name, found none",
                                  path().string(), pointer_step(name)));
  return entry->second;
}

void SafetensorsFile::read(const std::string& name, std::span<std::byte> out) const {
  const TensorEntry& entry = at(name);
  SPARITY_CHECK(out.size() == entry.end - entry.begin,
                fmt::format("{}: {}: {} bytes of room for {} bytes", path().string(),
                            pointer_step(name), out.size(), entry.end - entry.begin));
  file_.read(header_.data_offset + entry.begin, out);
  if (entry.dtype == Dtype::kBool) {
    // A C++ bool of another bit pattern is undefined behaviour in whoever uses it.
    const auto bad = std::ranges::find_if(out, [](std::byte byte) { return byte > std::byte{1}; });
    SPARITY_CHECK_INPUT(bad == out.end(),
                        fmt::format("{}: {}: expected 0 or 1 in a BOOL tensor, found {} at byte {}",
                                    path().string(), pointer_step(name), static_cast<int>(*bad),
                                    bad - out.begin()));
  }
}

std::vector<std::byte> SafetensorsFile::read(const std::string& name) const {
  const TensorEntry& entry = at(name);
  std::vector<std::byte> bytes(entry.end - entry.begin);
  read(name, bytes);
  return bytes;
}

}  // namespace sparity::core
