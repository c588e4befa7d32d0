#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "src/core/strict_json.h"
#include "src/core/tensor_name.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <tuple>

namespace sparity::core {

namespace {

void check_writable(const TensorBytes& tensor, const std::string& source) {
  const std::string complaint = tensor_name_complaint(tensor.name);
  SPARITY_CHECK(complaint.empty(), fmt::format("{}: {}: expected a tensor name {}", source,
                                               pointer_step(tensor.name), complaint));
  SPARITY_CHECK(tensor.shape.size() <= 8, fmt::format("{}: {}: expected at most 8 dimensions, "
                                                      "found {}",
                                                      source, tensor.name, tensor.shape.size()));
  // Zero dimensions are left out of the product, as the reader does.
  auto bytes = static_cast<std::int64_t>(size_of(tensor.dtype));
  bool valid = true;
  bool empty = false;
  for (const std::int64_t dim : tensor.shape) {
    empty = empty || dim == 0;
    valid = valid && dim >= 0 && (dim == 0 || !__builtin_mul_overflow(bytes, dim, &bytes));
  }
  SPARITY_CHECK(
      valid && tensor.bytes.size() == (empty ? 0 : static_cast<std::size_t>(bytes)),
      fmt::format("{}: {}: {} bytes do not fill the shape [{}] of {}", source, tensor.name,
                  tensor.bytes.size(), fmt::join(tensor.shape, ", "), to_string(tensor.dtype)));
}

/// A JSON string; bytes that are no UTF-8 (a path, say) become U+FFFD.
std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string header_text(const std::vector<TensorBytes>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> members;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) {
      pairs.push_back(fmt::format("{}:{}", json_string(key), json_string(value)));
    }
    members.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(pairs, ",")));
  }
  std::uint64_t offset = 0;
  for (const TensorBytes& tensor : tensors) {
    const std::uint64_t end = offset + tensor.bytes.size();
    members.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                  json_string(tensor.name), safetensors_name(tensor.dtype),
                                  fmt::join(tensor.shape, ","), offset, end));
    offset = end;
  }
  std::string text = fmt::format("{{{}}}", fmt::join(members, ","));
  constexpr std::size_t kAlignment = 8;
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::vector<TensorBytes> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string source = path.string();
  for (const TensorBytes& tensor : tensors) {
    check_writable(tensor, source);
  }
  std::ranges::sort(tensors, {}, [](const TensorBytes& tensor) {
    return std::tuple(-static_cast<std::ptrdiff_t>(size_of(tensor.dtype)),
                      std::string_view(tensor.name));
  });
  // Equal names may differ in dtype and so stand apart in that order.
  std::vector<std::string_view> names;
  for (const TensorBytes& tensor : tensors) {
    names.emplace_back(tensor.name);
  }
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  SPARITY_CHECK(twice == names.end(),
                fmt::format("{}: the tensor {} is given twice", source, *twice));

  const std::string text = header_text(tensors, metadata);
  const std::uint64_t length = text.size();
  static_assert(std::endian::native == std::endian::little);
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(text);
  for (const TensorBytes& tensor : tensors) {
    file.write(tensor.bytes);
  }
  file.commit();
}

}  // namespace sparity::core
