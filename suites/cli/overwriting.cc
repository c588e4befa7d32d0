#include "suites/cli/overwriting.h"

#include "src/core/error.h"
#include "src/core/safetensors.h"

#include <fmt/format.h>

#include <system_error>

namespace sparity::cli {

namespace {

namespace fs = std::filesystem;

fs::path folder_of(const fs::path& path) { return fs::absolute(path).parent_path(); }

/// Also true of two paths that don't exist yet and would be the same file.
bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code failure;
  return fs::equivalent(a, b, failure) ||
         (a.filename() == b.filename() && fs::equivalent(folder_of(a), folder_of(b), failure));
}

std::vector<fs::path> files_of(const fs::path& source) {
  std::error_code failure;
  if (!fs::is_directory(source, failure)) {
    return {source};
  }
  std::vector<fs::path> files = {source / "config.json", source / core::kWeightsFile,
                                 source / core::kWeightsIndexFile};
  for (const fs::directory_entry& entry : fs::directory_iterator(source, failure)) {
    if (entry.path().extension() == ".safetensors" || entry.path().extension() == ".json") {
      files.push_back(entry.path());
    }
  }
  return files;
}

}  // namespace

void refuse_overwriting(const fs::path& out, const std::vector<Source>& sources) {
  for (const Source& source : sources) {
    if (source.path.empty()) {
      continue;
    }
    for (const fs::path& file : files_of(source.path)) {
      SPARITY_CHECK_INPUT(!same_file(out, file),
                          fmt::format("{}: expected an output that overwrites no input, found {} "
                                      "({})",
                                      out.string(), file.string(), source.flag));
    }
  }
}

void refuse_overwriting_by_report(const fs::path& folder, const std::vector<Source>& sources) {
  for (const char* name : {"run.json", "results.jsonl", "report.json", "index.html", "junit.xml"}) {
    refuse_overwriting(folder / name, sources);
  }
}

}  // namespace sparity::cli
