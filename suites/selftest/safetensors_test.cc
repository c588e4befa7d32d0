#include "src/core/safetensors.h"

#include "src/core/error.h"
#include "src/core/tensor_name.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <unistd.h>

namespace sparity::core {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

template <typename Element>
std::vector<std::byte> bytes_of(std::initializer_list<Element> elements) {
  const auto bytes = std::as_bytes(std::span(elements.begin(), elements.size()));
  return {bytes.begin(), bytes.end()};
}

/// A file's first bytes: the length, then the header.
std::vector<std::byte> prefix(std::string_view header) {
  std::vector<std::byte> bytes(8 + header.size());
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

SafetensorsHeader parse(std::string_view header, std::uint64_t data_size) {
  return parse_safetensors_header(prefix(header), 8 + header.size() + data_size, "f.safetensors");
}

std::string header_refusal(std::string_view header, std::uint64_t data_size = 4) {
  try {
    parse(header, data_size);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    EXPECT_TRUE(std::string(error.what()).starts_with("f.safetensors: ")) << error.what();
    return error.what();
  }
  return "";
}

/// A header of one tensor "a" with these fields.
std::string one(std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return "{\"a\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":" + std::string(shape) +
         ",\"data_offsets\":" + std::string(offsets) + "}}";
}

class SafetensorsFolder : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "sparity_safetensors_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_;
};

TEST(SafetensorsHeader, AcceptsScalarsEmptyTensorsPaddingAndAnyOrder) {
  EXPECT_EQ(parse("{}", 0).tensors.size(), 0U);
  EXPECT_EQ(parse(one("F32", "[]", "[0,4]") + "   ", 4).tensors.at("a").shape.size(), 0U);
  EXPECT_EQ(parse(one("F32", "[0,3]", "[0,0]"), 0).tensors.at("a").shape[0], 0);
  const SafetensorsHeader header =
      parse(R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]},"__metadata__":{"k":"v"},)"
            R"("e":{"dtype":"U8","shape":[0],"data_offsets":[4,4]},)"
            R"("a":{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}})",
            7);
  EXPECT_EQ(header.tensors.at("b").begin, 4U);
  EXPECT_EQ(header.tensors.at("a").end, 4U);
  EXPECT_EQ(header.metadata.at("k"), "v");
}

TEST(SafetensorsHeader, RefusesLengthsBeyondTheFileOrTheCap) {
  const auto length_refused = [](std::uint64_t length, std::uint64_t file_size) {
    std::vector<std::byte> bytes(8);
    std::memcpy(bytes.data(), &length, 8);
    try {
      parse_safetensors_header(bytes, file_size, "f");
    } catch (const Error& error) {
      return error.code() == ExitCode::kBadInput;
    }
    return false;
  };
  EXPECT_TRUE(length_refused(1, 8));
  EXPECT_TRUE(length_refused(100'000'001, UINT64_MAX));
  EXPECT_TRUE(length_refused(UINT64_MAX, UINT64_MAX));
  EXPECT_TRUE(length_refused(UINT64_MAX - 7, 16));
  EXPECT_TRUE(length_refused(0, 8));
  EXPECT_THROW(parse_safetensors_header({}, 7, "f"), Error);
}

TEST(SafetensorsHeader, RefusesShapesThatOverflowEvenWhenEmpty) {
  for (const char* shape :
       {"[4294967296,4294967296]", "[4294967296,4294967296,0]", "[0,4294967296,4294967296]",
        "[9223372036854775807]", "[2305843009213693952]", "[18446744073709551615]"}) {
    EXPECT_NE(header_refusal(one("F32", shape, "[0,0]"), 0), "") << shape;
  }
}

TEST(SafetensorsHeader, RefusesNumbersThatAreNotPlainUnsignedIntegers) {
  for (const char* number : {"1.0", "-0", "1e3", "-1", "true", "null", "\"1\"", "1e400",
                             "18446744073709551616", "[1]"}) {
    const std::string in_array = "[" + std::string(number) + "]";
    EXPECT_NE(header_refusal(one("F32", in_array, "[0,4]")), "") << number;
    EXPECT_NE(header_refusal(one("F32", "[1]", "[" + std::string(number) + ",4]")), "") << number;
    EXPECT_NE(header_refusal(one("F32", "[1]", "[0," + std::string(number) + "]")), "") << number;
  }
}

TEST(SafetensorsHeader, NamesTypesOfTheFormatThatItDoesNotRead) {
  for (const char* dtype : {"F4", "F6_E2M3", "I8", "I16", "U16", "U32", "U64", "C64"}) {
    EXPECT_NE(header_refusal(one(dtype, "[1]", "[0,4]")).find("a type of the format"),
              std::string::npos);
  }
  for (const char* dtype : {"F8_E4M3", "F8_E5M2", "F8_E8M0"}) {
    EXPECT_EQ(
        header_refusal(one(dtype, "[4]", "[0,4]")),
        "f.safetensors: /a/dtype: expected F64, F32, F16, BF16, I64, I32, U8 or BOOL, found \"" +
            std::string(dtype) + "\": FP8 tensors are not read, convert them to BF16 first");
  }
  EXPECT_EQ(header_refusal(one("float32", "[1]", "[0,4]")).find("format"), std::string::npos);
}

TEST(SafetensorsHeader, TellsHolesFromOverlapsAndTails) {
  const auto two = [](const char* first, const char* second) {
    return std::string(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)") + first +
           R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + second + "}}";
  };
  EXPECT_EQ(header_refusal(two("[0,2]", "[2,4]")), "");
  EXPECT_NE(header_refusal(two("[0,2]", "[1,3]"), 3).find("an overlap"), std::string::npos);
  EXPECT_NE(header_refusal(two("[0,2]", "[0,2]"), 2).find("an overlap"), std::string::npos);
  EXPECT_NE(header_refusal(two("[0,2]", "[3,5]"), 5).find("a hole"), std::string::npos);
  EXPECT_NE(header_refusal(two("[1,3]", "[3,5]"), 5).find("a hole"), std::string::npos);
  EXPECT_NE(header_refusal(two("[0,2]", "[2,4]"), 5).find("found 5"), std::string::npos);
  EXPECT_NE(header_refusal(two("[0,2]", "[2,4]"), 3), "");
  EXPECT_NE(header_refusal(two("[2,0]", "[2,4]")), "");
}

TEST(TensorName, RefusesWhatIsUnsafeToShowOrToOpen) {
  for (const char* name : {"a", "model.layers.0.mlp", "a.b-c_d/e", "\xC3\xA9\xE6\xA8\xA1", "a:b"}) {
    EXPECT_EQ(tensor_name_complaint(name), "") << name;
  }
  for (const char* name : {"",
                           "..",
                           "a/../b",
                           "/a",
                           "\\a",
                           "~/a",
                           "C:\\a",
                           "c:/a",
                           "a\nb",
                           "a\x7f",
                           "\xC2\x85",
                           "a\xE2\x80\xAE",
                           "\xE2\x81\xA6",
                           "a\xE2\x80\x8B",
                           "\xEF\xBB\xBFx",
                           "\xF3\xA0\x80\x81",
                           "__metadata__",
                           "\xff",
                           "\xC0\xAF",
                           "\xED\xA0\x80",
                           "\xE2\x80",
                           "\xF4\x90\x80\x80"}) {
    EXPECT_NE(tensor_name_complaint(name), "") << name;
  }
  EXPECT_NE(tensor_name_complaint(std::string_view("a\0b", 3)), "");
  EXPECT_EQ(tensor_name_complaint(std::string(512, 'x')), "");
  EXPECT_NE(tensor_name_complaint(std::string(513, 'x')), "");
}

// Written by the reference implementation; see fixtures/oracles/safetensors_fixture.py.
TEST(SafetensorsFile, ReadsTheReferenceImplementationBitForBit) {
  const SafetensorsFile file(SPARITY_SOURCE_DIR "/fixtures/goldens/safetensors_0.8.0.safetensors");
  EXPECT_EQ(file.tensors().size(), 11U);
  EXPECT_EQ(file.read("f64"), bytes_of<double>({0.1, -0x1p-1074}));
  EXPECT_EQ(file.read("f32"),
            bytes_of<std::uint32_t>({0x3F000000, 0x80000000, 0x7F800000, 0x00000001}));
  EXPECT_EQ(file.read("f16"), bytes_of<std::uint16_t>({0x3C00, 0x7BFF, 0x0001}));
  EXPECT_EQ(file.read("bf16"), bytes_of<std::uint16_t>({0x3F80, 0xFF80, 0x7FC1}));
  EXPECT_EQ(file.read("i64"), bytes_of<std::int64_t>({INT64_MIN, INT64_MAX}));
  EXPECT_EQ(file.read("i32"), bytes_of<std::int32_t>({-7}));
  EXPECT_EQ(file.read("u8"), bytes_of<std::uint8_t>({0, 1, 127, 128, 255}));
  EXPECT_EQ(file.read("bool"), bytes_of<std::uint8_t>({1, 0, 1}));
  EXPECT_EQ(file.read("scalar"), bytes_of<float>({2.5F}));
  EXPECT_TRUE(file.read("empty").empty());
  EXPECT_EQ(file.at("bf16").shape, (std::vector<std::int64_t>{1, 3}));
  EXPECT_EQ(file.at("scalar").shape.size(), 0U);
  EXPECT_EQ(file.at("empty").shape, (std::vector<std::int64_t>{0, 4}));
  EXPECT_EQ(file.read("layer.\u00e9\u6a21"), bytes_of<std::uint8_t>({42}));
  EXPECT_EQ(file.metadata().at("note"), "h\u00e9 \u201cquoted\u201d\n");
  EXPECT_FALSE(file.contains("missing"));
  EXPECT_THROW(file.at("missing"), Error);
  std::vector<std::byte> too_small(3);
  EXPECT_THROW(file.read("i32", too_small), Error);
}

TEST_F(SafetensorsFolder, WritesAlignedSortedAndReproducibly) {
  const auto bytes = bytes_of("abcdefgh");
  const std::vector<TensorBytes> tensors = {{"u", Dtype::kU8, {3}, std::span(bytes).first(3)},
                                            {"b", Dtype::kF64, {}, bytes},
                                            {"e", Dtype::kBF16, {0, 2}, {}},
                                            {"a", Dtype::kF32, {1, 2}, bytes}};
  write_safetensors(folder_ / "one", tensors, {{"key", "va\xFFlue"}});
  write_safetensors(folder_ / "two", {tensors.rbegin(), tensors.rend()}, {{"key", "va\xFFlue"}});
  EXPECT_EQ(read_text_file(folder_ / "one", 1000), read_text_file(folder_ / "two", 1000));
  const SafetensorsFile file(folder_ / "one");
  EXPECT_EQ(file.at("b").begin, 0U);
  EXPECT_EQ(file.at("a").begin, 8U);
  EXPECT_EQ(file.at("u").begin, 16U);
  EXPECT_EQ(file.read("a"), bytes);
  EXPECT_EQ(file.metadata().at("key"), "va\uFFFDlue");
  const std::string text = read_text_file(folder_ / "one", 1000);
  EXPECT_EQ(text.size() % 8, 19U % 8);  // a header of a multiple of 8, then 19 bytes of data
}

TEST_F(SafetensorsFolder, RefusesToWriteWhatItWouldNotRead) {
  const auto bytes = bytes_of("abcd");
  const auto refused = [&](std::vector<TensorBytes> tensors) {
    EXPECT_THROW(write_safetensors(folder_ / "x", std::move(tensors)), Error);
    EXPECT_FALSE(fs::exists(folder_ / "x"));
  };
  refused({{"a", Dtype::kU8, {4}, bytes}, {"a", Dtype::kF32, {1}, bytes}});
  refused({{"../a", Dtype::kU8, {4}, bytes}});
  refused({{"a", Dtype::kU8, {5}, bytes}});
  refused({{"a", Dtype::kU8, {-1}, {}}});
  refused({{"a", Dtype::kU8, {0, INT64_MAX, 3}, {}}});
  refused({{"a", Dtype::kU8, {1, 1, 1, 1, 1, 1, 1, 1, 4}, bytes}});
}

TEST_F(SafetensorsFolder, RefusesABoolThatIsNeitherZeroNorOne) {
  write_safetensors(folder_ / "x", {{"a", Dtype::kU8, {4}, bytes_of<std::uint8_t>({1, 0, 2, 1})}});
  std::string text = read_text_file(folder_ / "x", 1000);
  text.replace(text.find("\"U8\","), 5, "\"BOOL\",");
  text.erase(text.rfind("} ") + 1, 2);
  std::ofstream(folder_ / "x", std::ios::binary) << text;
  const SafetensorsFile file(folder_ / "x");
  EXPECT_THROW(file.read("a"), Error);
}

TEST_F(SafetensorsFolder, AFileThatShrinksIsAnErrorNotASignal) {
  const std::vector<std::byte> bytes(100'000);
  write_safetensors(folder_ / "x", {{"a", Dtype::kU8, {100'000}, bytes}});
  const SafetensorsFile file(folder_ / "x");
  fs::resize_file(folder_ / "x", 1000);
  EXPECT_THROW(file.read("a"), Error);
}

TEST_F(SafetensorsFolder, ReadsShardsThroughTheirIndex) {
  write_safetensors(folder_ / "s1", {{"a", Dtype::kU8, {4}, bytes_of("abcd")}});
  write_safetensors(folder_ / "s2", {{"b", Dtype::kU8, {2}, bytes_of("ef")}});
  write_file_atomically(folder_ / "model.safetensors.index.json",
                        R"({"metadata":{"total_size":6},"weight_map":{"a":"s1","b":"s2"}})");
  const ShardedSafetensors checkpoint = ShardedSafetensors::open(folder_);
  EXPECT_TRUE(checkpoint.warnings().empty());
  EXPECT_EQ(checkpoint.shards().size(), 2U);
  std::vector<std::byte> bytes(2);
  checkpoint.read("b", bytes);
  EXPECT_EQ(bytes, bytes_of("ef"));
  write_file_atomically(folder_ / "model.safetensors.index.json",
                        R"({"metadata":{"total_size":7},"weight_map":{"a":"s1","b":"s2"}})");
  EXPECT_EQ(ShardedSafetensors::open(folder_).warnings().size(), 1U);
  // A single file goes first.
  write_safetensors(folder_ / "model.safetensors", {{"c", Dtype::kU8, {2}, bytes_of("gh")}});
  EXPECT_TRUE(ShardedSafetensors::open(folder_).tensors().contains("c"));
  EXPECT_EQ(ShardedSafetensors::open(folder_).warnings().size(), 1U);
}

}  // namespace
}  // namespace sparity::core
