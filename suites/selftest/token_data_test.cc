// Token files and the order of rows.

#include "src/train/token_data.h"

#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "src/train/loss_report.h"
#include "suites/selftest/scratch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

namespace sparity::train {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using Rows = std::vector<std::int64_t>;

constexpr core::TokenLimits kLimits{.vocab_size = 10, .max_tokens = 4, .wants_labels = true};

/// What reading these lines of JSON is refused with; "accepted" when it isn't.
std::string refusal_of(const std::string& lines, const core::TokenLimits& limits = kLimits) {
  const selftest::ScratchFolder folder;
  const fs::path path = folder.path() / "tokens.jsonl";
  std::ofstream(path) << lines;
  try {
    read_token_data(path, limits);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    EXPECT_THAT(error.what(), HasSubstr("tokens.jsonl"));
    return error.what();
  }
  return "accepted";
}

TEST(TokenData, BadLinesAreNamed) {
  EXPECT_THAT(refusal_of(""), HasSubstr("expected at least one row of tokens, found none"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2]}\n{\"input_ids\": [1, 10]}\n"),
              HasSubstr("line 2: 'input_ids'[1]: expected an id from 0 to 9"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, -1]}"), HasSubstr("found -1"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2.5]}"), HasSubstr("/input_ids/1: expected an int"));
  EXPECT_THAT(refusal_of("{\"input_ids\": []}"), HasSubstr("expected a token, found none"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2, 3, 4, 5]}"), HasSubstr("at most 4 tokens"));
  EXPECT_THAT(refusal_of("{\"tokens\": [1, 2]}"), HasSubstr("/tokens: expected input_ids"));
  EXPECT_THAT(refusal_of("{\"loss_mask\": [1, 1]}"), HasSubstr("/input_ids: expected an array"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"loss_mask\": [1]}"),
              HasSubstr("'loss_mask': expected 2 values, found 1"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"loss_mask\": [1, 2]}"),
              HasSubstr("'loss_mask'[1]: expected 0 or 1, found 2"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"labels\": [1, 12]}"),
              HasSubstr("'labels'[1]: expected -100 or an id"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"labels\": [1, 2], \"loss_mask\": [1, 1]}"),
              HasSubstr("found both"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2]}\n\n{\"input_ids\": [1, 2]}\n"),
              HasSubstr("tokens.jsonl: line 2: expected an object, found a blank line"));
  EXPECT_THAT(refusal_of(" \r\n"), HasSubstr("line 1: expected an object, found a blank line"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2, 3, 4, 5]}", {10, 4, true, "this helps"}),
              HasSubstr("at most 4 tokens; this helps, found 5"));
}

TEST(TokenData, AMaskOfJsonIsOfNumbersOrOfBooleans) {
  const selftest::ScratchFolder folder;
  const fs::path path = folder.path() / "tokens.jsonl";
  std::ofstream(path) << "{\"input_ids\": [1, 2, 3], \"loss_mask\": [true, false, true]}\n"
                      << "{\"input_ids\": [1, 2, 3], \"loss_mask\": [1, 0, 1]}\n";
  const TokenData data = read_token_data(path, kLimits);
  for (const core::TokenRow& row : data.rows) {
    EXPECT_THAT(row.labels, ElementsAre(1, core::kIgnoredLabel, 3));
  }
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"loss_mask\": [true, 1]}"),
              HasSubstr("/loss_mask/1: expected false or true, as before it, found 1"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"loss_mask\": [1, true]}"),
              HasSubstr("/loss_mask/1: expected an integer, found true"));
  EXPECT_THAT(refusal_of("{\"input_ids\": [1, 2], \"labels\": [true, true]}"),
              HasSubstr("/labels/0: expected an integer, found true"));
}

TEST(TokenData, ARowWithoutALabelIsRefusedWhereOneIsWanted) {
  // The first token's label has no position that would predict it.
  const std::string line = "{\"input_ids\": [1, 2, 3], \"loss_mask\": [1, 0, 0]}\n";
  EXPECT_THAT(refusal_of(line), HasSubstr("line 1: expected a label that counts"));
  EXPECT_EQ(refusal_of(line, {10, 4, false}), "accepted");
}

/// What reading a file of `input_ids` [2, 2] and this tensor is refused with.
std::string refusal_beside(const std::string& name, const Rows& values,
                           const std::vector<std::int64_t>& shape) {
  const selftest::ScratchFolder folder;
  const fs::path path = folder.path() / "tokens.safetensors";
  const Rows ids = {1, 2, 3, 4};
  core::write_safetensors(path,
                          {{"input_ids", core::Dtype::kI64, {2, 2}, std::as_bytes(std::span(ids))},
                           {name, core::Dtype::kI64, shape, std::as_bytes(std::span(values))}});
  try {
    read_token_data(path, kLimits);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    return error.what();
  }
  return "accepted";
}

TEST(TokenData, BadTensorsAreNamed) {
  EXPECT_EQ(refusal_beside("attention_mask", {1, 1, 1, 1}, {2, 2}), "accepted");
  EXPECT_THAT(refusal_beside("attention_mask", {1, 1, 0, 1}, {2, 2}),
              HasSubstr("row 1: 'attention_mask': expected ones, then zeros"));
  EXPECT_THAT(refusal_beside("attention_mask", {1, 1, 1, 2}, {2, 2}), HasSubstr("row 1"));
  EXPECT_THAT(refusal_beside("attention_mask", {1, 1, 0, 0}, {2, 2}),
              HasSubstr("row 1: 'input_ids': expected a token, found none"));
  EXPECT_THAT(refusal_beside("labels", {1, 2, 3, 10}, {2, 2}), HasSubstr("row 1: 'labels'[1]"));
  EXPECT_THAT(refusal_beside("labels", {1, 2, 3, 4}, {4, 1}),
              HasSubstr("'labels': expected shape [2, 2], found [4, 1]"));
  EXPECT_THAT(refusal_beside("position_ids", {0, 1, 0, 1}, {2, 2}),
              HasSubstr("unknown tensor \"position_ids\""));
}

TEST(TokenData, BothFormsReadAlike) {
  const selftest::ScratchFolder folder;
  std::ofstream(folder.path() / "a.jsonl")
      << "{\"input_ids\": [1, 2, 3], \"loss_mask\": [1, 1, 0]}\n{\"input_ids\": [4, 5]}\n";
  const Rows ids = {1, 2, 3, 4, 5, 0};
  const Rows loss = {1, 1, 0, 1, 1, 1};
  const Rows tokens = {1, 1, 1, 1, 1, 0};
  const std::vector<std::int64_t> shape = {2, 3};
  core::write_safetensors(
      folder.path() / "a.safetensors",
      {{"input_ids", core::Dtype::kI64, shape, std::as_bytes(std::span(ids))},
       {"loss_mask", core::Dtype::kI64, shape, std::as_bytes(std::span(loss))},
       {"attention_mask", core::Dtype::kI64, shape, std::as_bytes(std::span(tokens))}});
  for (const char* name : {"a.jsonl", "a.safetensors"}) {
    const TokenData data = read_token_data(folder.path() / name, kLimits);
    ASSERT_EQ(data.size(), 2) << name;
    EXPECT_THAT(data.rows[0].labels, ElementsAre(1, 2, -100)) << name;
    EXPECT_THAT(data.rows[1].input_ids, ElementsAre(4, 5)) << name;
    const tensors::Inputs batch = batch_of(data, {1, 0});
    EXPECT_EQ(batch.input_ids.sizes(), (at::IntArrayRef{2, 3}));
    EXPECT_EQ(BatchCounts::of(batch).tokens, 5);
    EXPECT_EQ(BatchCounts::of(batch).labels, 2);
  }
}

TEST(RowOrder, EveryEpochIsAPermutationOfItsOwn) {
  RowOrder order(7, 11);
  const Rows first = order.take(0, 11);
  const Rows second = order.take(11, 11);
  EXPECT_NE(first, second);
  for (Rows epoch : {first, second}) {
    std::ranges::sort(epoch);
    Rows all(11);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(epoch, all);
  }
  Rows across(first.begin() + 8, first.end());
  across.insert(across.end(), second.begin(), second.begin() + 3);
  EXPECT_EQ(RowOrder(7, 11).take(8, 6), across);  // from nowhere, as a resumed run asks
  EXPECT_NE(RowOrder(8, 11).take(0, 11), first);
}

}  // namespace
}  // namespace sparity::train
