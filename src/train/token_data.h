#pragma once

#include "src/core/token_file.h"
#include "src/tensors/inputs.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace sparity::train {

/// The rows of a token file (core/token_file.h).
struct TokenData {
  std::vector<core::TokenRow> rows;
  std::string source;  // the file
  std::string sha256;  // of its bytes

  std::int64_t size() const { return std::ssize(rows); }
};

/// Throws (exit code 5) where core::read_token_rows does.
TokenData read_token_data(const std::filesystem::path& path, const core::TokenLimits& limits);

/// Rows as one batch: padded on the right to the longest, labels −100 and masked there; positions
/// 0, 1, … in every row.
tensors::Inputs batch_of(const TokenData& data, const std::vector<std::int64_t>& rows);

/// Which rows a micro-batch takes, decided by (seed, rows, position) alone: every epoch is a
/// permutation of its own, drawn from the seed, so that a resumed run needs no state of its data.
class RowOrder {
 public:
  RowOrder(std::int64_t seed, std::int64_t rows) : seed_(seed), rows_(rows) {}

  /// Rows `first` … `first + count − 1` of the endless sequence of epochs.
  std::vector<std::int64_t> take(std::int64_t first, std::int64_t count);

 private:
  const std::vector<std::int64_t>& permutation(std::int64_t epoch);

  std::int64_t seed_;
  std::int64_t rows_;
  std::int64_t epoch_ = -1;
  std::vector<std::int64_t> permutation_;  // of epoch_
};

}  // namespace sparity::train
