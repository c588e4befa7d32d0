#include "suites/selftest/reports_sample.h"

#include "suites/judge/gates.h"
#include "suites/judge/outcome.h"

#include <limits>

namespace sparity::selftest {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

using judge::CaseRecord;
using reports::Report;
using reports::SuiteId;

judge::Gate sample_gate(double lhs, double rhs) {
  return judge::make_gate("G1", lhs, rhs, true, "global error");
}

judge::Comparison sample_comparison(const std::string& tensor, bool passes) {
  judge::Comparison comparison;
  comparison.tensor = tensor;
  comparison.shape = {2, 53, 72};
  comparison.gates = {sample_gate(passes ? 3e-8 : 4.2e-4, 1e-7)};
  comparison.rms_truth = 1.0;
  if (!passes) {
    comparison.worst = {{{1, 52, 3}, 0.5, 0.25, 0.25000001, 4e6, 4200.0}};
    comparison.buckets = {{0, 1e-3, 17, 0, 0, 0}, {1e-3, 1, 7615, 3e-4, 2e-8, 0.25}};
    comparison.error_map = judge::ErrorMap{2, 3, {0, 0.5, 1, 4, 4200, 0}};
  }
  return comparison;
}

CaseRecord sample_case(const SuiteId& id, const std::string& name, bool passes) {
  CaseRecord record;
  record.suite = id.suite;
  record.name = name;
  record.config = "tiny";
  record.config_hash = "0123456789abcdef";
  record.dtype = id.dtype;
  record.recipe = "official";
  record.device = id.device;
  record.seed = 1;
  record.seconds = 0.25;
  record.rerun = "sparity check " + id.suite + " --filter " + name;
  record.comparisons = {sample_comparison("layers.1.self_attn.indexer.q", passes)};
  judge::settle(record);
  return record;
}

Report passing_report() {
  Report report;
  report.tool_version = "0.1.0";
  report.complete = true;
  report.started_utc = "2026-01-31T09:30:00Z";
  report.finished_utc = "2026-01-31T09:31:00Z";
  report.command_line = "sparity check";
  report.provenance.config_name = "tiny";
  report.provenance.dtypes = {"float32", "bfloat16"};
  report.provenance.seed = 1;
  for (const char* suite : {"norm", "rope", "indexer"}) {
    for (const char* dtype : {"float32", "bfloat16"}) {
      const SuiteId id{suite, dtype};
      report.expected.push_back(id);
      for (const char* name : {"first-claim", "second-claim"}) {
        report.cases.push_back(sample_case(id, name, true));
      }
      reports::SuiteRun run;
      run.id = id;
      run.verdict = judge::Verdict::kPass;
      run.seconds = 0.5;
      run.cases = 2;
      run.comparisons = 2;
      report.suite_runs.push_back(run);
    }
  }
  return report;
}

Report failing_report() {
  Report report = passing_report();
  CaseRecord& record = report.cases.back();
  record = sample_case({"indexer", "bfloat16"}, "second-claim", false);
  record.trace = {
      {"embed_tokens", 0, 1e-8, 1e-8, 1e-8, judge::DivergenceClass::kClean},
      {"layers.1.self_attn.indexer.q", 4200, 0.3, 1e-8, 0.3, judge::DivergenceClass::kBug}};
  record.selections = {
      {"layers.1.self_attn.indexer.topk_indices", 90, 1000, 3, 4, 1, 0, 41.0, 3.0}};
  record.paths = {
      {"LM loss", "head", {.non_zero = 1}, {.non_zero = 1}, 1},
      {"LM loss", "routed experts", {.zero = 3, .non_zero = 33}, {.zero = 4, .non_zero = 32}, 35},
      {"LM loss", "indexer projections", {.none = 12}, {.none = 12}, 12}};
  record.curves = {{"LM loss", {1, 2, 3}, {5, 4, 3}, {5, 4, 3.01}, {5, 4.5, 4.25}}};
  record.kl_readings = {
      {"sum", "selected", "valid", 0.5, 0.5, 0.25, "layers.1.self_attn.indexer.q"}};
  record.conditions = {{"index_topk < sequence length", true, true, "12 < 53"},
                       {"padded rows", false, false, "none"}};
  record.verdict = judge::Verdict::kHarnessFault;
  judge::settle(record);
  report.suite_runs.back().verdict = judge::Verdict::kFail;
  report.suite_runs.back().exit_code = 1;
  report.skipped = {{{"kernels", "bfloat16", "cuda"}, "", "no CUDA device on this machine"}};
  report.known_mistakes = {{"F44", "Hadamard transform unscaled", "indexer", "hadamard"},
                           {"F01", "indexer RoPE interleaved", "indexer", "indexer.q"}};
  return report;
}

std::string hostile_name() {
  std::string name = "</code><script>alert('1')</script>\" onload=\"x\x1b[31m\xE2\x80\xAE&amp;]]>";
  name += '\0';
  return name + "\xFF%00::error::|`";
}

Report report_made_of(const std::string& text) {
  Report report = failing_report();
  for (std::string* member :
       {&report.tool_version, &report.started_utc, &report.finished_utc, &report.command_line,
        &report.provenance.git_commit, &report.provenance.compiler,
        &report.provenance.planted_fault, &report.provenance.config_name,
        &report.provenance.config_json, &report.provenance.recipe}) {
    *member = text;
  }
  report.provenance.dtypes = {text};
  const SuiteId id{text, text, text};
  report.expected = {id, {text + "2", text, "cpu"}};
  report.suite_runs.resize(1);
  report.suite_runs[0].id = id;
  report.suite_runs[0].message = text;
  report.suite_runs[0].rerun = text;
  report.suite_runs[0].stderr_tail = text;
  report.skipped[0] = {id, text, text};
  report.known_mistakes = {{text, text, text, text}};
  for (CaseRecord& record : report.cases) {
    for (std::string* member : {&record.suite, &record.name, &record.config, &record.config_hash,
                                &record.dtype, &record.recipe, &record.device, &record.message,
                                &record.first_divergence, &record.rerun}) {
      *member = text;
    }
    for (judge::Comparison& comparison : record.comparisons) {
      comparison.tensor = text;
      comparison.gates[0].name = text;
      comparison.gates[0].note = text;
    }
    for (judge::SelectionSummary& selection : record.selections) {
      selection.tensor = text;
    }
    for (judge::TracePoint& point : record.trace) {
      point.tensor = text;
    }
    for (judge::GradientPath& path : record.paths) {
      path.loss = text;
      path.group = text;
    }
    for (judge::LossCurve& curve : record.curves) {
      curve.title = text;
    }
    for (judge::KlReading& reading : record.kl_readings) {
      for (std::string* member :
           {&reading.reduction, &reading.target, &reading.support, &reading.tensor}) {
        *member = text;
      }
    }
    for (judge::Condition& condition : record.conditions) {
      condition.name = text;
      condition.detail = text;
    }
  }
  return report;
}

}  // namespace sparity::selftest
