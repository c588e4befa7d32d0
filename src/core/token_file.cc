#include "src/core/token_file.h"

#include "src/core/error.h"
#include "src/core/file_io.h"
#include "src/core/json_fields.h"
#include "src/core/safetensors.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

namespace sparity::core {

namespace {

constexpr std::uint64_t kMaxTextBytes = 8'000'000'000;
constexpr std::array<std::string_view, 4> kTensors = {"input_ids", "labels", "loss_mask",
                                                      "attention_mask"};

/// A row as the file has it, values unchecked.
struct RawRow {
  std::string place;  // "<file>: row 3" or "<file>: line 4", for messages
  std::vector<std::int64_t> input_ids;
  std::optional<std::vector<std::int64_t>> labels;
  std::optional<std::vector<std::int64_t>> loss_mask;
};

void check_row(const RawRow& raw, const TokenLimits& limits) {
  const auto length = std::ssize(raw.input_ids);
  SPARITY_CHECK_INPUT(length > 0, raw.place + ": 'input_ids': expected a token, found none");
  SPARITY_CHECK_INPUT(
      length <= limits.max_tokens,
      fmt::format("{}: 'input_ids': expected at most {} tokens{}{}, found {}", raw.place,
                  limits.max_tokens, limits.remedy.empty() ? "" : "; ", limits.remedy, length));
  for (std::size_t i = 0; i < raw.input_ids.size(); ++i) {
    const std::int64_t id = raw.input_ids[i];
    SPARITY_CHECK_INPUT(
        id >= 0 && id < limits.vocab_size,
        fmt::format("{}: 'input_ids'[{}]: expected an id from 0 to {} (vocab_size - 1), found {}",
                    raw.place, i, limits.vocab_size - 1, id));
  }
  SPARITY_CHECK_INPUT(!raw.labels || !raw.loss_mask,
                      raw.place + ": expected 'labels' or 'loss_mask', found both");
}

std::vector<std::int64_t> labels_of(const RawRow& raw, const TokenLimits& limits) {
  std::vector<std::int64_t> labels = raw.labels.value_or(raw.input_ids);
  SPARITY_CHECK_INPUT(labels.size() == raw.input_ids.size(),
                      fmt::format("{}: 'labels': expected {} values, found {}", raw.place,
                                  raw.input_ids.size(), labels.size()));
  for (std::size_t i = 0; i < labels.size(); ++i) {
    SPARITY_CHECK_INPUT(
        labels[i] == kIgnoredLabel || (labels[i] >= 0 && labels[i] < limits.vocab_size),
        fmt::format("{}: 'labels'[{}]: expected -100 or an id from 0 to {}, found {}", raw.place, i,
                    limits.vocab_size - 1, labels[i]));
  }
  if (raw.loss_mask) {
    SPARITY_CHECK_INPUT(raw.loss_mask->size() == labels.size(),
                        fmt::format("{}: 'loss_mask': expected {} values, found {}", raw.place,
                                    labels.size(), raw.loss_mask->size()));
    for (std::size_t i = 0; i < labels.size(); ++i) {
      const std::int64_t learnt = (*raw.loss_mask)[i];
      SPARITY_CHECK_INPUT(
          learnt == 0 || learnt == 1,
          fmt::format("{}: 'loss_mask'[{}]: expected 0 or 1, found {}", raw.place, i, learnt));
      labels[i] = learnt == 1 ? labels[i] : kIgnoredLabel;
    }
  }
  // The first token has no position that would predict it.
  const bool counts = std::any_of(labels.begin() + 1, labels.end(),
                                  [](std::int64_t label) { return label != kIgnoredLabel; });
  SPARITY_CHECK_INPUT(counts || !limits.wants_labels,
                      raw.place +
                          ": expected a label that counts, after the first token, to "
                          "learn from; found none");
  return labels;
}

/// Checks rows as they come and keeps them.
class RowTaker {
 public:
  explicit RowTaker(const TokenLimits& limits) : limits_(limits) {}

  void operator()(RawRow raw) {
    check_row(raw, limits_);
    std::vector<std::int64_t> labels = labels_of(raw, limits_);
    rows_.push_back({std::move(raw.input_ids), std::move(labels)});
  }
  std::vector<TokenRow> finish(const std::string& source) && {
    SPARITY_CHECK_INPUT(!rows_.empty(),
                        source + ": expected at least one row of tokens, found none");
    return std::move(rows_);
  }

 private:
  TokenLimits limits_;
  std::vector<TokenRow> rows_;
};

/// A tensor [N, S] of a token file, widened to integers.
struct Table {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<std::int64_t> values;

  std::vector<std::int64_t> row(std::int64_t index, std::int64_t length) const {
    const auto begin = values.begin() + index * columns;
    return {begin, begin + length};
  }
};

Table read_table(const SafetensorsFile& file, const std::string& name, bool is_mask) {
  const TensorEntry& entry = file.at(name);
  const std::string place = fmt::format("{}: '{}'", file.path().string(), name);
  const bool allowed = entry.dtype == Dtype::kI64 || (is_mask && entry.dtype == Dtype::kBool);
  SPARITY_CHECK_INPUT(
      allowed, fmt::format("{}: expected {}, found {}", place, is_mask ? "I64 or BOOL" : "I64",
                           safetensors_name(entry.dtype)));
  SPARITY_CHECK_INPUT(entry.shape.size() == 2, fmt::format("{}: expected shape [N, S], found [{}]",
                                                           place, fmt::join(entry.shape, ", ")));
  Table table{entry.shape[0], entry.shape[1], {}};
  const std::vector<std::byte> bytes = file.read(name);
  table.values.resize(static_cast<std::size_t>(table.rows * table.columns));
  if (entry.dtype == Dtype::kI64 && !bytes.empty()) {
    std::memcpy(table.values.data(), bytes.data(), bytes.size());
  } else if (entry.dtype == Dtype::kBool) {
    std::ranges::transform(bytes, table.values.begin(),
                           [](std::byte b) { return static_cast<std::int64_t>(b); });
  }
  return table;
}

/// Tokens of a row: its mask must be ones, then zeros.
std::int64_t length_of(const std::string& place, const Table& mask, std::int64_t index) {
  const std::vector<std::int64_t> row = mask.row(index, mask.columns);
  const auto end = std::ranges::find(row, 0);
  const auto wrong = std::find_if(end, row.end(), [](std::int64_t v) { return v != 0; });
  const bool ones = std::all_of(row.begin(), end, [](std::int64_t v) { return v == 1; });
  SPARITY_CHECK_INPUT(ones && wrong == row.end(),
                      place +
                          ": 'attention_mask': expected ones, then zeros (padding on the "
                          "right), found another order or value");
  return end - row.begin();
}

void read_tensors(const std::filesystem::path& path, RowTaker& take) {
  const SafetensorsFile file(path);
  for (const auto& [name, entry] : file.tensors()) {
    SPARITY_CHECK_INPUT(std::ranges::find(kTensors, name) != kTensors.end(),
                        fmt::format("{}: unknown tensor {}: expected {}", path.string(),
                                    quote(name), fmt::join(kTensors, ", ")));
  }
  const Table ids = read_table(file, "input_ids", false);
  const auto beside = [&](const std::string& name, bool is_mask) -> std::optional<Table> {
    if (!file.contains(name)) {
      return std::nullopt;
    }
    Table table = read_table(file, name, is_mask);
    SPARITY_CHECK_INPUT(
        table.rows == ids.rows && table.columns == ids.columns,
        fmt::format("{}: '{}': expected shape [{}, {}], found [{}, {}]", path.string(), name,
                    ids.rows, ids.columns, table.rows, table.columns));
    return table;
  };
  const std::optional<Table> labels = beside("labels", false);
  const std::optional<Table> loss_mask = beside("loss_mask", true);
  const std::optional<Table> attention_mask = beside("attention_mask", true);
  for (std::int64_t i = 0; i < ids.rows; ++i) {
    RawRow raw;
    raw.place = fmt::format("{}: row {}", path.string(), i);
    const std::int64_t length =
        attention_mask ? length_of(raw.place, *attention_mask, i) : ids.columns;
    raw.input_ids = ids.row(i, length);
    if (labels) {
      raw.labels = labels->row(i, length);
    }
    if (loss_mask) {
      raw.loss_mask = loss_mask->row(i, length);
    }
    take(std::move(raw));
  }
}

std::vector<std::int64_t> integers(const std::string& place, const char* name,
                                   const nlohmann::json& value) {
  SPARITY_CHECK_INPUT(value.is_array(),
                      fmt::format("{}: /{}: expected an array of integers, found {}", place, name,
                                  describe(value)));
  std::vector<std::int64_t> numbers;
  for (const nlohmann::json& element : value) {
    const bool fits = element.is_number_integer() &&
                      !(element.is_number_unsigned() && element.get<std::uint64_t>() > INT64_MAX);
    SPARITY_CHECK_INPUT(fits, fmt::format("{}: /{}/{}: expected an integer, found {}", place, name,
                                          numbers.size(), describe(element)));
    numbers.push_back(element.get<std::int64_t>());
  }
  return numbers;
}

/// A mask of integers, or of false and true.
std::vector<std::int64_t> mask_values(const std::string& place, const char* name,
                                      const nlohmann::json& value) {
  if (!value.is_array() || value.empty() || !value.front().is_boolean()) {
    return integers(place, name, value);
  }
  std::vector<std::int64_t> numbers;
  for (const nlohmann::json& element : value) {
    SPARITY_CHECK_INPUT(element.is_boolean(),
                        fmt::format("{}: /{}/{}: expected false or true, as before it, found {}",
                                    place, name, numbers.size(), describe(element)));
    numbers.push_back(element.get<bool>() ? 1 : 0);
  }
  return numbers;
}

RawRow read_line(std::string_view line, const std::string& place) {
  SPARITY_CHECK_INPUT(line.find_first_not_of(" \t\r") != std::string_view::npos,
                      place + ": expected an object, found a blank line");
  const nlohmann::json object = parse_json(line, place);
  JsonFields fields(object, place);
  RawRow raw;
  raw.place = place;
  const nlohmann::json* ids = fields.find("input_ids");
  const nlohmann::json* labels = fields.find("labels");
  const nlohmann::json* loss_mask = fields.find("loss_mask");
  for (const std::string& pointer : fields.unread()) {
    SPARITY_FAIL_INPUT(
        fmt::format("{}: {}: expected input_ids, labels or loss_mask, found an "
                    "unknown member",
                    place, pointer));
  }
  SPARITY_CHECK_INPUT(ids != nullptr, place + ": /input_ids: expected an array, found none");
  raw.input_ids = integers(place, "input_ids", *ids);
  if (labels != nullptr) {
    raw.labels = integers(place, "labels", *labels);
  }
  if (loss_mask != nullptr) {
    raw.loss_mask = mask_values(place, "loss_mask", *loss_mask);
  }
  return raw;
}

}  // namespace

std::vector<TokenRow> parse_token_lines(std::string_view text, const std::string& source,
                                        const TokenLimits& limits) {
  RowTaker take(limits);
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    ++number;
    take(read_line(text.substr(begin, end - begin), fmt::format("{}: line {}", source, number)));
    begin = end + 1;
  }
  return std::move(take).finish(source);
}

std::vector<TokenRow> read_token_rows(const std::filesystem::path& path,
                                      const TokenLimits& limits) {
  const std::string ending = path.extension().string();
  SPARITY_CHECK_INPUT(
      ending == ".safetensors" || ending == ".jsonl",
      fmt::format("{}: expected a token file that ends in .safetensors or .jsonl", path.string()));
  if (ending == ".jsonl") {
    return parse_token_lines(read_text_file(path, kMaxTextBytes), path.string(), limits);
  }
  RowTaker take(limits);
  read_tensors(path, take);
  return std::move(take).finish(path.string());
}

}  // namespace sparity::core
