#include "reports/report_json.h"
#include "src/core/error.h"
#include "src/core/json_fields.h"
#include "src/core/strict_json.h"
#include "suites/judge/record_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <set>
#include <utility>

namespace sparity::reports {

namespace {

using Json = nlohmann::json;

/// One object of the report, every member of which must be there and be read.
class Members {
 public:
  Members(const Json& object, const std::string& source, const std::string& pointer)
      : source_(source), fields_(object, source, pointer) {}

  const Json& value(std::string_view key) {
    const Json* member = fields_.find(key);
    if (member == nullptr) {
      fields_.fail(key, "a value", "nothing");
    }
    return *member;
  }
  std::string text(std::string_view key) {
    value(key);
    return *fields_.text(key);
  }
  bool boolean(std::string_view key) {
    value(key);
    return fields_.boolean(key, false);
  }
  std::int64_t count(std::string_view key,
                     std::int64_t most = std::numeric_limits<std::int64_t>::max()) {
    value(key);
    return fields_.integer(key, 0, 0, most);
  }
  std::uint64_t unsigned_integer(std::string_view key) {
    const Json& member = value(key);
    if (!member.is_number_unsigned()) {
      fields_.fail(key, "an integer from 0", core::describe(member));
    }
    return member.get<std::uint64_t>();
  }
  double real(std::string_view key) {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    const Json& member = value(key);
    if (member.is_number()) {
      return member.get<double>();
    }
    if (member == "nan") {
      return std::numeric_limits<double>::quiet_NaN();
    }
    if (member != "inf" && member != "-inf") {
      fields_.fail(key, "a number, \"nan\", \"inf\" or \"-inf\"", core::describe(member));
    }
    return member == "inf" ? kInfinity : -kInfinity;
  }
  judge::Verdict verdict(std::string_view key) {
    const std::string name = text(key);
    const std::optional<judge::Verdict> found = judge::verdict_from_string(name);
    if (!found) {
      fields_.fail(key, "a verdict", core::quote(name));
    }
    return *found;
  }

  /// The elements of an array member, each made by `read(element, its pointer)`.
  template <typename Read>
  auto list(std::string_view key, Read read) {
    const Json& array = value(key);
    if (!array.is_array()) {
      fields_.fail(key, "an array", core::describe(array));
    }
    std::vector<decltype(read(array, source_))> out;
    for (const Json& element : array) {
      out.push_back(read(element, fmt::format("{}/{}", fields_.pointer(key), out.size())));
    }
    return out;
  }

  void no_more() const {
    const std::vector<std::string> unread = fields_.unread();
    if (!unread.empty()) {
      SPARITY_FAIL_INPUT(
          fmt::format("{}: {}: expected no such member, found it", source_, unread.front()));
    }
  }

  const std::string& source() const { return source_; }
  std::string pointer(std::string_view key) const { return fields_.pointer(key); }

 private:
  const std::string& source_;
  core::JsonFields fields_;
};

SuiteId read_id(Members& members) {
  return {members.text("suite"), members.text("dtype"), members.text("device")};
}

SuiteId read_expected(const Json& object, const std::string& source, const std::string& pointer) {
  Members members(object, source, pointer);
  SuiteId id = read_id(members);
  members.no_more();
  return id;
}

SuiteRun read_run(const Json& object, const std::string& source, const std::string& pointer) {
  Members members(object, source, pointer);
  SuiteRun run;
  run.id = read_id(members);
  run.verdict = members.verdict("verdict");
  run.exit_code = static_cast<int>(members.count("exit_code", 255));
  run.signal_number = static_cast<int>(members.count("signal_number", 255));
  run.seconds = members.real("seconds");
  run.cases = members.count("cases");
  run.comparisons = members.count("comparisons");
  run.message = members.text("message");
  run.rerun = members.text("rerun");
  run.stderr_tail = members.text("stderr_tail");
  members.no_more();
  return run;
}

Skipped read_skipped(const Json& object, const std::string& source, const std::string& pointer) {
  Members members(object, source, pointer);
  Skipped skipped{read_id(members), members.text("name"), members.text("reason")};
  members.no_more();
  return skipped;
}

KnownMistake read_mistake(const Json& object, const std::string& source,
                          const std::string& pointer) {
  Members members(object, source, pointer);
  KnownMistake mistake{members.text("id"), members.text("title"), members.text("suite"),
                       members.text("locate")};
  members.no_more();
  return mistake;
}

std::string read_text(const Json& value, const std::string& source, const std::string& pointer) {
  SPARITY_CHECK_INPUT(value.is_string(), fmt::format("{}: {}: expected a string, found {}", source,
                                                     pointer, core::describe(value)));
  return value.get<std::string>();
}

Provenance read_provenance(const Json& object, const std::string& source,
                           const std::string& pointer) {
  Members members(object, source, pointer);
  Provenance out;
  const std::array<std::pair<std::string_view, std::string*>, 12> texts = {{
      {"git_commit", &out.git_commit},
      {"compiler", &out.compiler},
      {"build_type", &out.build_type},
      {"build_flags", &out.build_flags},
      {"libtorch_version", &out.libtorch_version},
      {"planted_fault", &out.planted_fault},
      {"cpu_model", &out.cpu_model},
      {"weights_sha256", &out.weights_sha256},
      {"config_name", &out.config_name},
      {"config_hash", &out.config_hash},
      {"config_json", &out.config_json},
      {"recipe", &out.recipe},
  }};
  for (const auto& [key, member] : texts) {
    *member = members.text(key);
  }
  out.faults_compiled_in = members.boolean("faults_compiled_in");
  out.threads = members.count("threads");
  out.seed = members.unsigned_integer("seed");
  out.dtypes = members.list("dtypes", [&](const Json& value, const std::string& where) {
    return read_text(value, source, where);
  });
  members.no_more();
  return out;
}

void refuse_duplicates(const Report& report, const Members& members) {
  std::set<SuiteId> seen;
  for (const SuiteId& id : report.expected) {
    SPARITY_CHECK_INPUT(
        seen.insert(id).second,
        fmt::format("{}: {}: expected every suite once, found {} twice", members.source(),
                    members.pointer("expected"), core::quote(label(id))));
  }
}

/// What the file says of itself must be what its records give.
void check_derived(const Report& report, Members& members) {
  Json derived = to_json(assess(report));
  derived["waivers"] = Json::array();  // there are none in this version
  members.text("why");                 // wording may change between versions
  for (const std::string_view key :
       {"verdict", "exit_code", "first_divergence", "counts", "waivers"}) {
    const Json& found = members.value(key);
    const Json difference = Json::diff(derived.at(key), found);
    if (!difference.empty()) {
      const std::string inner = difference.front().at("path").get<std::string>();
      const Json::json_pointer place(inner);
      SPARITY_FAIL_INPUT(fmt::format(
          "{}: {}{}: expected {}, as the records give, found {}", members.source(),
          members.pointer(key), inner,
          derived.at(key).contains(place) ? core::describe(derived.at(key).at(place)) : "nothing",
          found.contains(place) ? core::describe(found.at(place)) : "nothing"));
    }
  }
}

}  // namespace

Report report_from_json(const Json& document, const std::string& source) {
  Members members(document, source, "");
  Report report;
  const std::string version = members.text("schema_version");
  const bool is_before =
      std::ranges::find(kReportSchemasBefore, version) != kReportSchemasBefore.end();
  SPARITY_CHECK_INPUT(is_before || version == kReportSchemaVersion,
                      fmt::format("{}: /schema_version: expected \"{}\", found {}", source,
                                  kReportSchemaVersion, core::quote(version)));
  report.tool_version = members.text("tool_version");
  report.complete = members.boolean("complete");
  report.started_utc = members.text("started_utc");
  report.finished_utc = members.text("finished_utc");
  report.command_line = members.text("command_line");
  const auto reading = [&](auto read) {
    return [&source, read](const Json& value, const std::string& pointer) {
      return read(value, source, pointer);
    };
  };
  report.provenance =
      read_provenance(members.value("provenance"), source, members.pointer("provenance"));
  report.expected = members.list("expected", reading(read_expected));
  report.suite_runs = members.list("suite_runs", reading(read_run));
  report.cases = members.list("cases", [&](const Json& value, const std::string& pointer) {
    return judge::case_record_from_json(value, fmt::format("{}: {}", source, pointer));
  });
  report.skipped = members.list("skipped", reading(read_skipped));
  report.known_mistakes = members.list("known_mistakes", reading(read_mistake));
  report.resumed_cases = members.count("resumed_cases");
  const bool counts_maps = version != "1.0" && version != "1.1";
  report.error_maps_left_out = counts_maps ? members.count("error_maps_left_out") : 0;
  refuse_duplicates(report, members);
  check_derived(report, members);
  members.no_more();
  return report;
}

Report read_report(const std::filesystem::path& path) {
  return report_from_json(core::read_json(path, kReportLimits), path.string());
}

}  // namespace sparity::reports
