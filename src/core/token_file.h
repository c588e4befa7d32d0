#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sparity::core {

/// The label of what is not learnt.
inline constexpr std::int64_t kIgnoredLabel = -100;

/// One row of a token file, without padding.
struct TokenRow {
  std::vector<std::int64_t> input_ids;
  std::vector<std::int64_t> labels;  // as long; not shifted, −100 = not learnt
};

/// What a token file must hold to be of use.
struct TokenLimits {
  std::int64_t vocab_size = 0;
  std::int64_t max_tokens = 0;  // of a row
  bool wants_labels = true;     // every row must have a label that counts
  std::string_view remedy =
      {};  // what to say of a row above max_tokens: "--max-tokens allows more"
};

/// Reads `path`, by its ending:
///   .safetensors: `input_ids` I64 [N, S]; optional `labels` I64 [N, S], `loss_mask` and
///     `attention_mask` I64 or BOOL [N, S] (1 = learnt, 1 = token), padding on the right only;
///   .jsonl: one object a line, {"input_ids": [..]}, optional "labels" and "loss_mask" as long, the
///     mask of 0 and 1 or of false and true.
/// Labels are the ids themselves where none are given; a loss mask turns those at its zeros off.
/// Refused with exit code 5 and file, row or line, expected, found: no row, an empty row, ids or
/// labels outside the vocabulary, a row above `limits.max_tokens`, labels beside a loss mask, a
/// mask other than 0 and 1, unknown names and, where labels are wanted, a row in which none counts.
std::vector<TokenRow> read_token_rows(const std::filesystem::path& path, const TokenLimits& limits);

/// The same of a .jsonl file's text; messages start with `source`.
std::vector<TokenRow> parse_token_lines(std::string_view text, const std::string& source,
                                        const TokenLimits& limits);

}  // namespace sparity::core
