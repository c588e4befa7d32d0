#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sparity::cli {

/// Something that a command reads, and the flag that named it.
struct Source {
  std::string flag;
  std::filesystem::path path;  // a file, or a folder whose files are all meant; empty: nothing
};

/// Throws (exit code 5) when writing `out` would replace one of `sources`, be it by another path, a
/// symbolic or a hard link, or would add a file that a checkpoint folder among them is read by.
void refuse_overwriting(const std::filesystem::path& out, const std::vector<Source>& sources);

/// The same for every file that a report writes into `folder`.
void refuse_overwriting_by_report(const std::filesystem::path& folder,
                                  const std::vector<Source>& sources);

}  // namespace sparity::cli
