#include "reports/report_json.h"

#include "src/core/file_io.h"
#include "suites/judge/json_array.h"
#include "suites/judge/outcome.h"
#include "suites/judge/record_json.h"

#include <nlohmann/json.hpp>

#include <cmath>

namespace sparity::reports {

namespace {

using Json = nlohmann::json;

Json real(double value) {
  if (std::isfinite(value)) {
    return value;
  }
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

Json to_json(const SuiteId& id) {
  return {{"suite", id.suite}, {"dtype", id.dtype}, {"device", id.device}};
}

Json to_json(const SuiteRun& run) {
  Json out = to_json(run.id);
  out["verdict"] = judge::to_string(run.verdict);
  out["exit_code"] = run.exit_code;
  out["signal_number"] = run.signal_number;
  out["seconds"] = real(run.seconds);
  out["cases"] = run.cases;
  out["comparisons"] = run.comparisons;
  out["message"] = run.message;
  out["rerun"] = run.rerun;
  out["stderr_tail"] = run.stderr_tail;
  return out;
}

Json to_json(const Skipped& skipped) {
  Json out = to_json(skipped.id);
  out["name"] = skipped.name;
  out["reason"] = skipped.reason;
  return out;
}

Json to_json(const KnownMistake& mistake) {
  return {{"id", mistake.id},
          {"title", mistake.title},
          {"suite", mistake.suite},
          {"locate", mistake.locate}};
}

Json to_json(const Provenance& provenance) {
  return {{"git_commit", provenance.git_commit},
          {"compiler", provenance.compiler},
          {"build_type", provenance.build_type},
          {"build_flags", provenance.build_flags},
          {"libtorch_version", provenance.libtorch_version},
          {"faults_compiled_in", provenance.faults_compiled_in},
          {"planted_fault", provenance.planted_fault},
          {"cpu_model", provenance.cpu_model},
          {"threads", provenance.threads},
          {"weights_sha256", provenance.weights_sha256},
          {"config_name", provenance.config_name},
          {"config_hash", provenance.config_hash},
          {"config_json", provenance.config_json},
          {"seed", provenance.seed},
          {"dtypes", provenance.dtypes},
          {"recipe", provenance.recipe}};
}

Json to_json(const Counts& counts) {
  return {{"expected", counts.expected},
          {"unexpected", counts.unexpected},
          {"run", counts.run},
          {"missing", counts.missing},
          {"passed", counts.passed},
          {"failed", counts.failed},
          {"inconclusive", counts.inconclusive},
          {"skipped", counts.skipped},
          {"crashed", counts.crashed},
          {"timed_out", counts.timed_out},
          {"out_of_memory", counts.out_of_memory},
          {"bad_input", counts.bad_input},
          {"harness_faults", counts.harness_faults},
          {"cases", counts.cases},
          {"cases_not_passed", counts.cases_not_passed},
          {"cases_skipped", counts.cases_skipped},
          {"comparisons", counts.comparisons},
          {"comparisons_failed", counts.comparisons_failed}};
}

constexpr auto as_json = [](const auto& item) { return to_json(item); };

std::string on_one_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Each member on a line, and of arrays each element: fit to look through, at a quarter of the
/// bytes of full indentation.
std::string text_of(const Json& document) {
  std::string text = "{";
  const char* before = "\n";
  for (const auto& [key, value] : document.items()) {
    text += before + on_one_line(key) + ": ";
    before = ",\n";
    if (!value.is_array() || value.empty()) {
      text += on_one_line(value);
      continue;
    }
    const char* between = "[\n ";
    for (const Json& element : value) {
      text += between + on_one_line(element);
      between = ",\n ";
    }
    text += "\n]";
  }
  return text + "\n}\n";
}

}  // namespace

Json to_json(const Assessment& assessment) {
  return {{"verdict", judge::to_string(assessment.verdict)},
          {"exit_code", static_cast<int>(assessment.exit_code)},
          {"why", assessment.why},
          {"first_divergence", assessment.first_divergence},
          {"counts", to_json(assessment.counts)}};
}

Json to_json(const Report& report) {
  Json cases = Json::array();
  for (const judge::CaseRecord& record : report.cases) {
    cases.push_back(judge::to_json(record));
  }
  Json out = {{"schema_version", kReportSchemaVersion},
              {"tool_version", report.tool_version},
              {"complete", report.complete},
              {"started_utc", report.started_utc},
              {"finished_utc", report.finished_utc},
              {"command_line", report.command_line},
              {"provenance", to_json(report.provenance)},
              {"expected", judge::array_of(report.expected, as_json)},
              {"suite_runs", judge::array_of(report.suite_runs, as_json)},
              {"cases", std::move(cases)},
              {"skipped", judge::array_of(report.skipped, as_json)},
              {"known_mistakes", judge::array_of(report.known_mistakes, as_json)},
              {"waivers", Json::array()},
              {"resumed_cases", report.resumed_cases},
              {"error_maps_left_out", report.error_maps_left_out}};
  out.update(to_json(assess(report)));
  return out;
}

void write_report(const Report& report, const std::filesystem::path& path) {
  core::write_file_atomically(path, text_of(to_json(report)));
}

}  // namespace sparity::reports
