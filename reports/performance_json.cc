#include "reports/performance_json.h"

#include "src/core/error.h"
#include "src/core/strict_json.h"
#include "suites/judge/json_array.h"
#include "suites/judge/json_members.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>

namespace sparity::reports {

namespace {

using Json = nlohmann::json;

using judge::JsonMembers;

/// Neither negative nor infinite.
double amount(JsonMembers& members, std::string_view key) {
  const double value = members.number(key);
  const bool fits = std::isfinite(value) && value >= 0;
  if (!fits) {
    members.fail(key, "a finite number from 0", core::describe(members.need(key)));
  }
  return value;
}

std::optional<double> optional_amount(JsonMembers& members, std::string_view key) {
  return members.need(key).is_null() ? std::nullopt : std::optional(amount(members, key));
}

double read_seconds(const Json& value, const std::string& source, const std::string& pointer) {
  const bool fits = value.is_number() && value.get<double>() >= 0;
  SPARITY_CHECK_INPUT(fits, fmt::format("{}: {}: expected seconds, found {}", source, pointer,
                                        core::describe(value)));
  return value.get<double>();
}

OpTime read_op(const Json& object, const std::string& source, const std::string& pointer) {
  JsonMembers figures(object, source, pointer);
  OpTime op{figures.text("op"),
            amount(figures, "forward_seconds"),
            amount(figures, "backward_seconds"),
            amount(figures, "forward_flops"),
            amount(figures, "backward_flops"),
            amount(figures, "forward_bytes"),
            amount(figures, "backward_bytes")};
  figures.finish();
  return op;
}

MemoryPhase read_phase(const Json& object, const std::string& source, const std::string& pointer) {
  JsonMembers figures(object, source, pointer);
  MemoryPhase phase{figures.text("phase"), figures.count("live_bytes"),
                    figures.count("peak_bytes")};
  figures.finish();
  return phase;
}

std::optional<Measured> read_measured(JsonMembers& parent, std::string_view key,
                                      const std::string& source) {
  const Json& object = parent.need(key);
  if (object.is_null()) {
    return std::nullopt;
  }
  JsonMembers figures(object, source, parent.pointer(key));
  const Measured measured{amount(figures, "seconds"), figures.count("bytes")};
  figures.finish();
  return measured;
}

ComparedPass read_pass(const Json& object, const std::string& source, const std::string& pointer) {
  JsonMembers figures(object, source, pointer);
  ComparedPass pass;
  pass.pass = figures.text("pass");
  SPARITY_CHECK_INPUT(pass.pass == "forward" || pass.pass == "forward_backward",
                      fmt::format("{}: {}/pass: expected forward or forward_backward, found {}",
                                  source, pointer, core::quote(pass.pass)));
  pass.tokens = figures.count("tokens");
  pass.gemm_flops_per_second = amount(figures, "gemm_flops_per_second");
  const std::optional<Measured> ours = read_measured(figures, "ours", source);
  SPARITY_CHECK_INPUT(ours.has_value(),
                      fmt::format("{}: {}/ours: expected an object, found null", source, pointer));
  pass.ours = *ours;
  pass.plain = read_measured(figures, "plain", source);
  pass.tuned = read_measured(figures, "tuned", source);
  pass.target_plain = optional_amount(figures, "target_plain");
  pass.target_tuned = optional_amount(figures, "target_tuned");
  pass.target_memory = optional_amount(figures, "target_memory");
  figures.finish();
  return pass;
}

BenchRun read_bench(JsonMembers& figures, const std::string& source) {
  BenchRun bench;
  bench.tool_version = figures.text("tool_version");
  bench.git_commit = figures.text("git_commit");
  bench.cpu_model = figures.text("cpu_model");
  bench.config = figures.text("config");
  bench.config_hash = figures.text("config_hash");
  bench.dtype = figures.text("dtype");
  bench.attention = figures.text("attention");
  bench.threads = figures.count("threads");
  bench.batch = figures.count("batch");
  bench.tokens = figures.count("tokens");
  bench.gemm_flops_per_second = amount(figures, "gemm_flops_per_second");
  bench.copy_bytes_per_second = amount(figures, "copy_bytes_per_second");
  bench.forward_seconds = figures.items("forward_seconds", read_seconds);
  bench.forward_backward_seconds = figures.items("forward_backward_seconds", read_seconds);
  bench.ops = figures.items("ops", read_op);
  bench.memory = figures.items("memory", read_phase);
  SPARITY_CHECK_INPUT(!bench.forward_seconds.empty() || !bench.forward_backward_seconds.empty(),
                      source + ": /forward_seconds: expected at least one pass, found none");
  return bench;
}

AgainstTransformers read_comparison(JsonMembers& figures, const std::string& source) {
  AgainstTransformers comparison;
  comparison.cpu_model = figures.text("cpu_model");
  comparison.transformers = figures.text("transformers");
  comparison.config = figures.text("config");
  comparison.threads = figures.count("threads");
  comparison.passes = figures.items("passes", read_pass);
  SPARITY_CHECK_INPUT(!comparison.passes.empty(),
                      source + ": /passes: expected at least one, found none");
  return comparison;
}

Json to_json(const OpTime& op) {
  return {{"op", op.op},
          {"forward_seconds", op.forward_seconds},
          {"backward_seconds", op.backward_seconds},
          {"forward_flops", op.forward_flops},
          {"backward_flops", op.backward_flops},
          {"forward_bytes", op.forward_bytes},
          {"backward_bytes", op.backward_bytes}};
}

Json to_json(const MemoryPhase& phase) {
  return {
      {"phase", phase.phase}, {"live_bytes", phase.live_bytes}, {"peak_bytes", phase.peak_bytes}};
}

constexpr auto as_json = [](const auto& item) { return to_json(item); };

}  // namespace

Json to_json(const BenchRun& bench) {
  return {{"kind", kBenchKind},
          {"schema_version", kBenchSchemaVersion},
          {"tool_version", bench.tool_version},
          {"git_commit", bench.git_commit},
          {"cpu_model", bench.cpu_model},
          {"config", bench.config},
          {"config_hash", bench.config_hash},
          {"dtype", bench.dtype},
          {"attention", bench.attention},
          {"threads", bench.threads},
          {"batch", bench.batch},
          {"tokens", bench.tokens},
          {"gemm_flops_per_second", bench.gemm_flops_per_second},
          {"copy_bytes_per_second", bench.copy_bytes_per_second},
          {"forward_seconds", bench.forward_seconds},
          {"forward_backward_seconds", bench.forward_backward_seconds},
          {"ops", judge::array_of(bench.ops, as_json)},
          {"memory", judge::array_of(bench.memory, as_json)}};
}

bool is_performance(const Json& document) {
  const auto kind = document.is_object() ? document.find("kind") : document.end();
  return kind != document.end() && (*kind == kBenchKind || *kind == kAgainstTransformersKind);
}

void add_performance(const Json& document, const std::string& source, Performance& performance) {
  JsonMembers figures(document, source, "");
  const std::string kind = figures.text("kind");
  const bool bench = kind == kBenchKind;
  SPARITY_CHECK_INPUT(bench || kind == kAgainstTransformersKind,
                      fmt::format("{}: /kind: expected \"{}\" or \"{}\", found {}", source,
                                  kBenchKind, kAgainstTransformersKind, core::quote(kind)));
  const std::string_view known = bench ? kBenchSchemaVersion : kAgainstTransformersSchemaVersion;
  if (const std::string version = figures.text("schema_version"); version != known) {
    figures.fail("schema_version", known, core::quote(version));
  }
  SPARITY_CHECK_INPUT(
      bench ? !performance.bench : !performance.against_transformers,
      fmt::format("{}: /kind: expected one file of each kind, found another of \"{}\"", source,
                  kind));
  if (bench) {
    performance.bench = read_bench(figures, source);
  } else {
    performance.against_transformers = read_comparison(figures, source);
  }
  figures.finish();
}

}  // namespace sparity::reports
