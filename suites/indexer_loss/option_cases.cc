#include "suites/indexer_loss/option_cases.h"

#include "suites/indexer_loss/kl_problem.h"

#include <fmt/format.h>

namespace sparity::suites::indexer_loss {

namespace {

using cases::Case;
using cases::SuiteContext;
using cases::TensorMap;
using core::AttentionMode;
using core::KlOptions;

/// Every value of one option that is not the default.
template <typename Option>
void add_option(std::vector<Case>& all, AttentionMode mode, const std::string& flag,
                Option KlOptions::*member) {
  for (const auto& [option, word] : core::option_words<Option>()) {
    KlOptions options;
    if (options.*member == option) {
      continue;
    }
    options.*member = option;
    all.push_back(
        kl_case(fmt::format("{}_{}_in_{}_mode", flag, word, core::to_string(mode)), mode, options));
  }
}

/// Every selected key is gone from rows 3 and 9 of the first sequence, and all but one from row 20.
void few_keys(const SuiteContext&, TensorMap& in) {
  const at::Tensor rows = in.at("selected")[0];
  rows[3].fill_(-1);
  rows[9].fill_(-1);
  rows[20].narrow(0, 1, rows.size(1) - 1).fill_(-1);
}

/// Head weights of one sign, so that every score is ≤ 0.
void negative_weights(const SuiteContext&, TensorMap& in) {
  in["index_weights"] = in.at("index_weights").abs().neg();
}

/// Several tiles of queries and, in dense mode, of keys.
void many_tokens(const SuiteContext& context, TensorMap& in) { in = kl_inputs(context, 300, 9); }

/// One key more than fills a tile of dense mode. Between the first keys and the last there is
/// padding, so that each weighs much.
void one_key_more(const SuiteContext& context, TensorMap& in) {
  constexpr std::int64_t kKeys = 257;
  in = kl_inputs(context, kKeys, 9);
  in.at("token_mask").slice(1, 12, kKeys - 3).fill_(false);
}

}  // namespace

std::vector<Case> option_cases() {
  std::vector<Case> all;
  for (const AttentionMode mode : {AttentionMode::kSparse, AttentionMode::kDense}) {
    const std::string in_mode = fmt::format("_in_{}_mode", core::to_string(mode));
    all.push_back(kl_case("default" + in_mode, mode, {}));
    add_option(all, mode, "guard", &KlOptions::guard);
    add_option(all, mode, "precision", &KlOptions::precision);
    all.push_back(kl_case("negative_head_weights" + in_mode, mode, {}, negative_weights));
    all.push_back(kl_case("many_tiles" + in_mode, mode, {}, many_tokens));
  }
  all.push_back(kl_case("one_key_more_than_a_tile", AttentionMode::kDense, {}, one_key_more));
  const AttentionMode sparse = AttentionMode::kSparse;
  add_option(all, sparse, "target", &KlOptions::target);
  add_option(all, sparse, "support", &KlOptions::support);
  all.push_back(kl_case("rows_with_few_keys", sparse, {}, few_keys));
  all.push_back(kl_case("rows_with_few_keys_over_valid", sparse,
                        {.support = core::KlSupport::kValid}, few_keys));
  all.push_back(
      kl_case("many_tiles_over_valid", sparse, {.support = core::KlSupport::kValid}, many_tokens));
  all.push_back(
      kl_case("renormalised_over_valid", sparse,
              {.target = core::KlTarget::kRenormalised, .support = core::KlSupport::kValid}));
  return all;
}

}  // namespace sparity::suites::indexer_loss
