#include "src/core/token_file.h"
#include "suites/selftest/fuzz/fuzz_target.h"

#include <algorithm>
#include <string_view>

int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace sparity;
  const std::string_view text(reinterpret_cast<const char*>(bytes), size);
  constexpr core::TokenLimits kLimits{.vocab_size = 10, .max_tokens = 4};
  const auto in_vocabulary = [](std::int64_t id) { return id >= 0 && id < 10; };
  fuzz::refuse_or_read([&] {
    const auto rows = core::parse_token_lines(text, fuzz::kSource, kLimits);
    fuzz::demand(!rows.empty(), "a file has rows");
    for (const core::TokenRow& row : rows) {
      fuzz::demand(row.input_ids.size() <= 4 && row.labels.size() == row.input_ids.size(),
                   "rows are within limits");
      fuzz::demand(std::ranges::all_of(row.input_ids, in_vocabulary), "ids are in the vocabulary");
      fuzz::demand(std::any_of(row.labels.begin() + 1, row.labels.end(), in_vocabulary),
                   "a label counts");
    }
  });
  return 0;
}
