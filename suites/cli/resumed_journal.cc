#include "suites/cli/resumed_journal.h"

#include "src/core/error.h"
#include "suites/judge/journal.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace sparity::cli {

namespace {

void check_head(const std::filesystem::path& journal, const judge::CaseRecord& record,
                const reports::Provenance& head) {
  const auto check = [&](const char* field, const std::string& found, const std::string& expected) {
    SPARITY_CHECK_INPUT(
        found == expected,
        fmt::format("{}: case '{}' of {}: {}: expected {}, found {}; run without --resume to start "
                    "anew",
                    journal.string(), record.name, record.suite, field, expected, found));
  };
  check("config_hash", record.config_hash, head.config_hash);
  check("recipe", record.recipe, head.recipe);
  check("seed", std::to_string(record.seed), std::to_string(head.seed));
}

}  // namespace

std::vector<judge::CaseRecord> records_of_run(const std::filesystem::path& journal,
                                              const reports::Report& report) {
  std::vector<judge::CaseRecord> records;
  if (!std::filesystem::exists(journal)) {
    return records;
  }
  for (judge::CaseRecord& record : judge::read_journal(journal).records) {
    const reports::SuiteId id{record.suite, record.dtype, record.device};
    if (std::ranges::find(report.expected, id) != report.expected.end()) {
      check_head(journal, record, report.provenance);
      records.push_back(std::move(record));
    }
  }
  return records;
}

}  // namespace sparity::cli
