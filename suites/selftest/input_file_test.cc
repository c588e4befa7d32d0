// What an inputs file may hold, and its identity.

#include "src/tensors/input_file.h"

#include "src/core/error.h"
#include "src/core/safetensors.h"
#include "suites/selftest/scratch_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <span>
#include <string>
#include <vector>

namespace sparity::tensors {
namespace {

using testing::HasSubstr;

using Columns = std::vector<std::int64_t>;

/// Reads a file of one row of I64 tensors.
Inputs read_row(const std::map<std::string, Columns>& row) {
  const selftest::ScratchFolder folder;
  std::vector<core::TensorBytes> tensors;
  for (const auto& [name, values] : row) {
    tensors.push_back({name,
                       core::Dtype::kI64,
                       {1, static_cast<std::int64_t>(values.size())},
                       std::as_bytes(std::span(values))});
  }
  core::write_safetensors(folder.path() / "in.safetensors", tensors);
  return read_input_file(folder.path() / "in.safetensors");
}

std::string refusal(const std::map<std::string, Columns>& row) {
  try {
    read_row(row);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    EXPECT_THAT(error.what(), HasSubstr("in.safetensors"));
    return error.what();
  }
  return "nothing was refused";
}

TEST(InputFile, PositionsMayFallAtPaddingAndNotFromTokenToToken) {
  const Columns ids = {1, 2, 3, 4};
  EXPECT_NO_THROW(read_row(
      {{"input_ids", ids}, {"attention_mask", {0, 1, 1, 1}}, {"position_ids", {1, 0, 1, 2}}}));
  EXPECT_NO_THROW(read_row(
      {{"input_ids", ids}, {"attention_mask", {1, 1, 0, 0}}, {"position_ids", {4, 5, 0, 0}}}));
  EXPECT_THAT(refusal({{"input_ids", ids}, {"position_ids", {0, 1, 0, 1}}}),
              HasSubstr("'position_ids'[0, 2]: expected no decrease"));
  EXPECT_THAT(
      refusal(
          {{"input_ids", ids}, {"attention_mask", {1, 1, 0, 1}}, {"position_ids", {4, 5, 9, 0}}}),
      HasSubstr("'position_ids'[0, 3]"));
}

TEST(InputFile, SomeLabelMustCount) {
  const Columns ids = {1, 2, 3};
  EXPECT_NO_THROW(read_row({{"input_ids", ids}, {"labels", {-100, 2, -100}}}));
  EXPECT_THAT(refusal({{"input_ids", ids}, {"labels", {-100, -100, -100}}}),
              HasSubstr("'labels': expected at least one label"));
  EXPECT_THAT(refusal({{"input_ids", ids}, {"labels", {1, -100, -100}}}), HasSubstr("'labels'"));
  EXPECT_THAT(
      refusal({{"input_ids", ids}, {"attention_mask", {0, 1, 1}}, {"labels", {-100, 2, -100}}}),
      HasSubstr("'labels'"));
  EXPECT_THAT(refusal({{"input_ids", {1}}, {"labels", {1}}}), HasSubstr("'labels'"));
}

TEST(InputFile, HashKnowsContentAndNotSpelling) {
  const std::string plain = inputs_hash(read_row({{"input_ids", {1, 2, 3}}}));
  EXPECT_EQ(plain.size(), 16U);
  EXPECT_EQ(plain, inputs_hash(read_row({{"input_ids", {1, 2, 3}},
                                         {"attention_mask", {1, 1, 1}},
                                         {"position_ids", {0, 1, 2}}})));
  EXPECT_NE(plain, inputs_hash(read_row({{"input_ids", {1, 2, 4}}})));
  EXPECT_NE(plain, inputs_hash(read_row({{"input_ids", {1, 2, 3}}, {"labels", {1, 2, 3}}})));
  EXPECT_NE(plain,
            inputs_hash(read_row({{"input_ids", {1, 2, 3}}, {"attention_mask", {0, 1, 1}}})));
  EXPECT_NE(plain, inputs_hash(read_row({{"input_ids", {1, 2, 3}}, {"position_ids", {1, 2, 3}}})));
}

}  // namespace
}  // namespace sparity::tensors
