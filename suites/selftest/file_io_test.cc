#include "src/core/file_io.h"

#include "src/core/error.h"

#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace sparity::core {
namespace {

namespace fs = std::filesystem;

/// A folder of its own for each test, gone afterwards.
class FileIo : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "sparity_file_io_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::size_t count_files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

  fs::path folder_;
};

/// The exit code of the error that `use` throws, whose message must name `path`.
ExitCode failure(const fs::path& path, const std::function<void()>& use) {
  try {
    use();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    return error.code();
  }
  return ExitCode::kPass;
}

TEST_F(FileIo, WritesAndReadsBack) {
  const fs::path path = folder_ / "a.txt";
  write_file_atomically(path, "first");
  write_file_atomically(path, "second");
  EXPECT_EQ(read_text_file(path, 6), "second");
  EXPECT_EQ(failure(path, [&] { read_text_file(path, 5); }), ExitCode::kBadInput);
  EXPECT_EQ(count_files(), 1U);
}

TEST_F(FileIo, AnUncommittedFileLeavesNoTrace) {
  const fs::path path = folder_ / "a.txt";
  write_file_atomically(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
    EXPECT_EQ(read_text_file(path, 100), "old");
  }
  EXPECT_EQ(read_text_file(path, 100), "old");
  EXPECT_EQ(count_files(), 1U);
}

TEST_F(FileIo, ACommittedFileTakesNoMore) {
  AtomicFile file(folder_ / "a.txt");
  file.commit();
  EXPECT_THROW(file.write("more"), Error);
  EXPECT_THROW(file.commit(), Error);
}

TEST_F(FileIo, ReplacesWhatADeadProcessLeft) {
  const fs::path left = folder_ / (".a.txt.tmp." + std::to_string(::getpid()));
  std::ofstream(left) << "half";
  write_file_atomically(folder_ / "a.txt", "whole");
  EXPECT_EQ(read_text_file(folder_ / "a.txt", 100), "whole");
  EXPECT_EQ(count_files(), 1U);
}

TEST_F(FileIo, CannotCreateIsTheUsersMistake) {
  const fs::path missing = folder_ / "no" / "a.txt";
  EXPECT_EQ(failure(missing, [&] { AtomicFile file(missing); }), ExitCode::kBadInput);
  EXPECT_EQ(failure(folder_, [&] { AtomicFile file(folder_); }), ExitCode::kBadInput);
  EXPECT_EQ(failure("/dev/full", [] { AtomicFile file("/dev/full"); }), ExitCode::kBadInput);
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
  const fs::path dangling = folder_ / "dangling";
  fs::create_symlink("nowhere", dangling);
  EXPECT_EQ(failure(dangling, [&] { AtomicFile file(dangling); }), ExitCode::kBadInput);
  const fs::path long_name = folder_ / std::string(250, 'x');
  EXPECT_EQ(failure(long_name, [&] { AtomicFile file(long_name); }), ExitCode::kBadInput);
}

TEST_F(FileIo, AReadOnlyFolderIsTheUsersMistake) {
  constexpr uid_t kNobody = 65534;
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  const uid_t user = ::geteuid();
  if (user == 0) {  // whom permissions do not stop
    ASSERT_EQ(::seteuid(kNobody), 0);
  }
  const fs::path path = folder_ / "a.txt";
  const ExitCode code = failure(path, [&] { AtomicFile file(path); });
  ASSERT_EQ(::seteuid(user), 0);
  fs::permissions(folder_, fs::perms::owner_all);
  EXPECT_EQ(code, ExitCode::kBadInput);
  EXPECT_EQ(count_files(), 0U);
}

TEST_F(FileIo, WritesThroughALink) {
  write_file_atomically(folder_ / "target", "old");
  fs::create_symlink("target", folder_ / "link");
  write_file_atomically(folder_ / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(read_text_file(folder_ / "target", 100), "new");
}

TEST_F(FileIo, AFullDiskIsReportedAndLeavesTheOldFile) {
  const fs::path path = folder_ / "a.txt";
  write_file_atomically(path, "old");
  // A limit on the size of files stands in for a full disk: write(2) fails the same way.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const ExitCode code =
      failure(path, [&] { write_file_atomically(path, std::string(10'000, 'x')); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(code, ExitCode::kCrashed);
  EXPECT_EQ(read_text_file(path, 100), "old");
  EXPECT_EQ(count_files(), 1U);
}

TEST_F(FileIo, ReadsByPosition) {
  write_file_atomically(folder_ / "a", "0123456789");
  InputFile file(folder_ / "a");
  EXPECT_EQ(file.size(), 10U);
  std::array<std::byte, 3> bytes = {};
  file.read(7, bytes);
  EXPECT_EQ(bytes[2], std::byte{'9'});
  EXPECT_EQ(failure(folder_ / "a", [&] { file.read(8, bytes); }), ExitCode::kBadInput);
  EXPECT_EQ(failure(folder_ / "a", [&] { file.read(UINT64_MAX, bytes); }), ExitCode::kBadInput);
  InputFile moved = std::move(file);
  moved.read(0, bytes);
  EXPECT_EQ(bytes[0], std::byte{'0'});
}

TEST_F(FileIo, AFileThatShrinksIsAnErrorNotASignal) {
  const fs::path path = folder_ / "a";
  write_file_atomically(path, std::string(100'000, 'x'));
  const InputFile file(path);
  fs::resize_file(path, 10);
  std::vector<std::byte> bytes(file.size());
  EXPECT_EQ(failure(path, [&] { file.read(0, bytes); }), ExitCode::kBadInput);
}

TEST_F(FileIo, OnlyRegularFilesAreRead) {
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const fs::path& path : {pipe, folder_, folder_ / "missing", fs::path("/dev/zero")}) {
    EXPECT_EQ(failure(path, [&] { InputFile file(path); }), ExitCode::kBadInput) << path;
  }
}

TEST(Sha256, GivesThePublishedAnswers) {
  // FIPS 180-2, B.1 and the empty message.
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace sparity::core
