#pragma once

#include "suites/judge/record.h"

#include <filesystem>
#include <vector>

namespace sparity::judge {

/// results.jsonl: one line per case record, on disk before `append` returns. Several processes may
/// append to one file: each line is written under an exclusive lock.
class JournalWriter {
 public:
  /// Creates the file when it is missing. Throws (exit code 5) when it can't be opened.
  explicit JournalWriter(const std::filesystem::path& path);
  ~JournalWriter();
  JournalWriter(const JournalWriter&) = delete;
  JournalWriter& operator=(const JournalWriter&) = delete;

  /// Appends and flushes one record. A torn tail that a killed writer left is cut off first. Throws
  /// (exit code 4) when the disk refuses; the journal then ends with the record before.
  void append(const CaseRecord& record);

 private:
  void cut_torn_tail();

  std::filesystem::path path_;
  int descriptor_ = -1;
};

struct JournalContent {
  std::vector<CaseRecord> records;
  bool torn = false;  // the last line was cut short and is left out
};

/// Reads every record. A last line without its newline, or that is no JSON, is torn and left out;
/// any other line that is not a record, or is one of a case that a line before records, throws
/// (exit code 5) with file and line number.
JournalContent read_journal(const std::filesystem::path& path);

}  // namespace sparity::judge
