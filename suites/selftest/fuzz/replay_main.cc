// Stands in for libFuzzer: runs a fuzz target over the files of a corpus, each as it is and in a
// number of mutated forms, the same ones every time.
//
//   <target>_replay MUTATIONS PATH…

#include "src/core/file_io.h"
#include "src/core/philox.h"
#include "suites/selftest/fuzz/fuzz_target.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files_under(const fs::path& root) {
  if (fs::is_regular_file(root)) {
    return {root};
  }
  std::vector<fs::path> files;
  for (const auto& item : fs::recursive_directory_iterator(root)) {
    if (item.is_regular_file()) {
      files.push_back(item.path());
    }
  }
  std::ranges::sort(files);
  return files;
}

void run(const std::string& text) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
}

/// A few bytes changed, removed, or repeated, at places and in ways that `stream` gives.
std::string mutate(std::string text, const sparity::core::RandomStream& stream,
                   std::uint64_t index) {
  const std::uint64_t changes = 1 + stream.below(index, 4);
  for (std::uint64_t i = 0; i < changes && !text.empty(); ++i) {
    const std::uint64_t draw = 16 * index + 4 * i + 1;
    const auto place = static_cast<std::size_t>(stream.below(draw, text.size()));
    const auto length = static_cast<std::size_t>(1 + stream.below(draw + 1, 8));
    switch (stream.below(draw + 2, 4)) {
      case 0:
        text[place] = static_cast<char>(stream.below(draw + 3, 256));
        break;
      case 1:
        text[place] = static_cast<char>(text[place] ^ (1 << stream.below(draw + 3, 8)));
        break;
      case 2:
        text.erase(place, length);
        break;
      default:
        text.insert(place, text.substr(stream.below(draw + 3, text.size()), length));
    }
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t mutations = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 0;
  std::size_t runs = 0;
  for (int i = 2; i < argc; ++i) {
    for (const fs::path& path : files_under(argv[i])) {
      const std::string text = sparity::core::read_text_file(path, 100'000'000);
      const sparity::core::RandomStream stream(1, path.filename().string());
      run(text);
      for (std::uint64_t index = 0; index < mutations; ++index) {
        run(mutate(text, stream, index));
      }
      runs += 1 + mutations;
    }
  }
  std::printf("%zu inputs\n", runs);
  return runs > 0 ? 0 : static_cast<int>(sparity::core::ExitCode::kHarnessFault);
}
