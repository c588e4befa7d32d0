#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "src/core/strict_json.h"
#include "src/core/tensor_name.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace sparity::core {

namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxTensors = 250'000;
constexpr std::size_t kMaxDims = 8;

/// Types of the format (safetensors 0.8.0) that nothing here computes with.
constexpr std::array<std::string_view, 14> kUnreadDtypes = {
    "F4",          "F6_E2M3",     "F6_E3M2", "I8",  "F8_E5M2", "F8_E4M3", "F8_E8M0",
    "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16",     "U16", "U32",     "U64",     "C64"};

/// Says where in a header something is wrong.
class Place {
 public:
  Place(const std::string& source, const std::string& name) : source_(source), name_(name) {}

  [[noreturn]] void fail(std::string_view field, const std::string& complaint) const {
    SPARITY_FAIL_INPUT(fmt::format("{}: {}{}: {}", source_, pointer_step(name_), field, complaint));
  }

 private:
  const std::string& source_;
  const std::string& name_;
};

const Json& member(const Json& description, const char* field, const Place& place) {
  const auto found = description.find(field);
  if (found == description.end()) {
    place.fail("", fmt::format("expected the key \"{}\", found none", field));
  }
  return *found;
}

Dtype read_dtype(const Json& value, const Place& place) {
  const std::string name = value.is_string() ? value.get<std::string>() : "";
  if (const std::optional<Dtype> dtype = dtype_from_safetensors_name(name)) {
    return *dtype;
  }
  const bool known = std::ranges::find(kUnreadDtypes, name) != kUnreadDtypes.end();
  const bool fp8 = name.starts_with("F8_");
  place.fail("/dtype", fmt::format("expected F64, F32, F16, BF16, I64, I32, U8 or BOOL, found {}{}",
                                   describe(value),
                                   fp8 ? ": FP8 tensors are not read, convert them to BF16 first"
                                   : known ? ", a type of the format that is not read here"
                                           : ""));
}

std::uint64_t read_unsigned(const Json& value, std::string_view field, const Place& place) {
  // A signed integer, 1.0 and 1e3 are other JSON types than a plain 1.
  if (!value.is_number_unsigned() ||
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    place.fail(field, fmt::format("expected an integer from 0 to {}, written plainly, found {}",
                                  INT64_MAX, describe(value)));
  }
  return value.get<std::uint64_t>();
}

/// The byte count of `shape`. Also counts it with the zero dimensions left out: a shape whose
/// strides overflow is refused however empty the tensor is.
std::uint64_t read_shape(const Json& value, TensorEntry& entry, const Place& place) {
  if (!value.is_array() || value.size() > kMaxDims) {
    place.fail("/shape", fmt::format("expected an array of at most {} dimensions, found {}",
                                     kMaxDims, describe(value)));
  }
  std::int64_t bytes = static_cast<std::int64_t>(size_of(entry.dtype));
  bool empty = false;
  for (std::size_t i = 0; i < value.size(); ++i) {
    const auto dim =
        static_cast<std::int64_t>(read_unsigned(value[i], fmt::format("/shape/{}", i), place));
    empty = empty || dim == 0;
    if (dim != 0 && __builtin_mul_overflow(bytes, dim, &bytes)) {
      place.fail("/shape", fmt::format("expected at most {} bytes, found more", INT64_MAX));
    }
    entry.shape.push_back(dim);
  }
  return empty ? 0 : static_cast<std::uint64_t>(bytes);
}

TensorEntry read_entry(const Json& description, std::uint64_t data_size, const Place& place) {
  if (!description.is_object()) {
    place.fail("", fmt::format("expected an object, found {}", describe(description)));
  }
  TensorEntry entry;
  entry.dtype = read_dtype(member(description, "dtype", place), place);
  const std::uint64_t bytes = read_shape(member(description, "shape", place), entry, place);
  const Json& offsets = member(description, "data_offsets", place);
  if (!offsets.is_array() || offsets.size() != 2) {
    place.fail("/data_offsets", fmt::format("expected an array of 2, found {}", describe(offsets)));
  }
  entry.begin = read_unsigned(offsets[0], "/data_offsets/0", place);
  entry.end = read_unsigned(offsets[1], "/data_offsets/1", place);
  if (entry.begin > entry.end || entry.end > data_size) {
    place.fail(
        "/data_offsets",
        fmt::format("expected begin <= end <= {} (bytes of data in the file), found [{}, {}]",
                    data_size, entry.begin, entry.end));
  }
  if (entry.end - entry.begin != bytes) {
    place.fail("/data_offsets", fmt::format("expected {} bytes, as dtype and shape say, found {}",
                                            bytes, entry.end - entry.begin));
  }
  if (description.size() != 3) {
    place.fail("", "expected the keys dtype, shape and data_offsets, found others too");
  }
  return entry;
}

std::map<std::string, std::string> read_metadata(const Json& value, const std::string& source) {
  SPARITY_CHECK_INPUT(value.is_object(), fmt::format("{}: /__metadata__: expected an object, "
                                                     "found {}",
                                                     source, describe(value)));
  std::map<std::string, std::string> metadata;
  for (const auto& item : value.items()) {
    SPARITY_CHECK_INPUT(item.value().is_string(),
                        fmt::format("{}: /__metadata__{}: expected a string, found {}", source,
                                    pointer_step(item.key()), describe(item.value())));
    metadata.emplace(item.key(), item.value().get<std::string>());
  }
  return metadata;
}

/// The tensors' bytes must be the data: each once, nothing between, nothing after.
void check_coverage(const std::map<std::string, TensorEntry>& tensors, std::uint64_t data_size,
                    const std::string& source) {
  std::vector<const std::pair<const std::string, TensorEntry>*> ordered;
  ordered.reserve(tensors.size());
  for (const auto& item : tensors) {
    ordered.push_back(&item);
  }
  std::ranges::sort(ordered, {}, [](const auto* item) {
    return std::pair(item->second.begin, item->second.end);
  });
  std::uint64_t covered = 0;
  for (const auto* item : ordered) {
    if (item->second.begin != covered) {
      Place(source, item->first)
          .fail("/data_offsets",
                fmt::format("expected to begin at byte {}, where the tensor before ends, found {} "
                            "({})",
                            covered, item->second.begin,
                            item->second.begin < covered ? "an overlap" : "a hole"));
    }
    covered = item->second.end;
  }
  SPARITY_CHECK_INPUT(covered == data_size,
                      fmt::format("{}: expected {} bytes of data, as the header says, found {}",
                                  source, covered, data_size));
}

}  // namespace

std::uint64_t safetensors_header_length(std::span<const std::byte, 8> first,
                                        std::uint64_t file_size, const std::string& source) {
  std::uint64_t length = 0;
  std::memcpy(&length, first.data(), sizeof(length));
  SPARITY_CHECK_INPUT(length <= kMaxHeaderBytes,
                      fmt::format("{}: header length: expected at most {} bytes, found {}", source,
                                  kMaxHeaderBytes, length));
  SPARITY_CHECK_INPUT(
      file_size >= sizeof(length) && length <= file_size - sizeof(length),
      fmt::format("{}: header length: expected at most the {} bytes of the file, found 8 + {}",
                  source, file_size, length));
  return length;
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> prefix,
                                           std::uint64_t file_size, const std::string& source) {
  constexpr std::size_t kLengthBytes = 8;
  SPARITY_CHECK_INPUT(file_size >= kLengthBytes && prefix.size() >= kLengthBytes,
                      fmt::format("{}: expected a safetensors file of 8 bytes or more, found {} "
                                  "bytes",
                                  source, file_size));
  const std::uint64_t length =
      safetensors_header_length(prefix.first<kLengthBytes>(), file_size, source);
  SPARITY_CHECK(prefix.size() - kLengthBytes >= length,
                fmt::format("{}: the header's {} bytes were not all passed", source, length));
  const std::string_view text(reinterpret_cast<const char*>(prefix.data()) + kLengthBytes, length);
  SPARITY_CHECK_INPUT(text.starts_with('{'),
                      fmt::format("{}: header: expected {{ as its first byte, found {}", source,
                                  quote(text.substr(0, 1))));
  const Json document = parse_json(text, source + ": header");

  SafetensorsHeader header;
  header.data_offset = kLengthBytes + length;
  const std::uint64_t data_size = file_size - header.data_offset;
  SPARITY_CHECK_INPUT(document.size() <= kMaxTensors + 1,
                      fmt::format("{}: expected at most {} tensors, found {}", source, kMaxTensors,
                                  document.size()));
  for (const auto& item : document.items()) {
    if (item.key() == "__metadata__") {
      header.metadata = read_metadata(item.value(), source);
      continue;
    }
    const std::string complaint = tensor_name_complaint(item.key());
    SPARITY_CHECK_INPUT(complaint.empty(), fmt::format("{}: {}: expected a tensor name {}", source,
                                                       pointer_step(item.key()), complaint));
    header.tensors.emplace(item.key(),
                           read_entry(item.value(), data_size, Place(source, item.key())));
  }
  check_coverage(header.tensors, data_size, source);
  return header;
}

}  // namespace sparity::core
