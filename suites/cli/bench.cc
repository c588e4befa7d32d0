#include "reports/performance_json.h"
#include "reports/render.h"
#include "src/core/file_io.h"
#include "suites/bench/counter_baseline.h"
#include "suites/bench/machine_rates.h"
#include "suites/bench/timing.h"
#include "suites/cli/build_info.h"
#include "suites/cli/command.h"
#include "suites/cli/provenance.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace sparity::cli {

namespace {

struct BenchOptions {
  cases::ModelSource source;
  std::int64_t tokens = 0;  // 0: as the inputs file, or the config's default
  core::Dtype dtype = core::Dtype::kF32;
  core::AttentionMode attention = core::AttentionMode::kSparse;
  int threads = 0;
  int repeat = 5;
  bool backward = false;
  bool profile = false;
  bool json = false;
  std::string out;
  bool counters = false;
  std::string against;
};

tensors::Inputs inputs_of(const BenchOptions& options, const core::ModelConfig& config) {
  SPARITY_CHECK_INPUT(options.tokens == 0 || options.source.inputs.empty(),
                      "--tokens: expected no --inputs beside it, found both");
  tensors::Inputs inputs =
      options.tokens == 0 ? cases::open_inputs(options.source, config)
                          : tensors::seeded_inputs(config, options.source.seed, options.tokens);
  SPARITY_CHECK_INPUT(
      !options.backward || inputs.labels.defined(),
      fmt::format("{}: 'labels': expected for --backward, found none", options.source.inputs));
  return inputs;
}

reports::BenchRun measure(const BenchOptions& options) {
  const auto open = [&] { return cases::open_checkpoint(options.source); };
  reports::BenchRun run;
  const core::ModelConfig config = cases::read_config(options.source).config;
  const tensors::Inputs inputs = inputs_of(options, config);
  const bench::BenchPlan plan{inputs, options.attention, options.repeat};
  const bench::MachineRates before = bench::machine_rates(options.dtype);
  run.tool_version = kVersion;
  run.git_commit = kGitCommit;
  run.cpu_model = processor_name();
  run.config = options.source.name();
  run.config_hash = core::config_hash(config);
  run.dtype = core::to_string(options.dtype);
  run.attention = core::to_string(options.attention);
  run.threads = at::get_num_threads();
  run.batch = inputs.input_ids.size(0);
  run.tokens = inputs.input_ids.size(1);
  {
    const bench::BenchedModel model(open(), options.dtype);
    run.forward_seconds = bench::pass_seconds(model, plan, false);
    if (options.backward) {
      run.forward_backward_seconds = bench::pass_seconds(model, plan, true);
    }
    if (options.profile) {
      run.ops = bench::op_times(model, config, plan, options.backward);
    }
  }
  // The machine may have had a slow moment: what it gave at best.
  const bench::MachineRates after = bench::machine_rates(options.dtype);
  run.gemm_flops_per_second = std::max(before.gemm_flops, after.gemm_flops);
  run.copy_bytes_per_second = std::max(before.copy_bytes, after.copy_bytes);
  if (options.profile) {
    run.memory = bench::memory_phases(open, options.dtype, plan, options.backward);
  }
  return run;
}

void print_passes(std::string_view name, const std::vector<double>& seconds) {
  if (!seconds.empty()) {
    const auto [least, most] = std::ranges::minmax(seconds);
    fmt::print("{:<24} {:10.2f} ms   (slowest of {}: {:.2f})\n", name, 1e3 * least, seconds.size(),
               1e3 * most);
  }
}

std::string work_words(double work, double unit, std::string_view name) {
  return work > 0 ? fmt::format("{:.2f} {}", work / unit, name) : "-";
}

void print_ops(const reports::BenchRun& run) {
  fmt::print("\n{:<24} {:>10} {:>10} {:>7} {:>10} {:>11}  {}\n", "operation", "forward", "backward",
             "share", "GEMM work", "moves", "roofline");
  std::vector<reports::OpTime> ops = run.ops;
  std::ranges::stable_sort(ops, std::greater(), &reports::OpTime::seconds);
  const double total = reports::total_seconds(ops);
  for (const reports::OpTime& op : ops) {
    const reports::Roofline roofline = reports::roofline_of(op, run);
    const std::string reached =
        roofline.seconds > 0 ? fmt::format("{:5.1f} % of {}", 100 * roofline.seconds / op.seconds(),
                                           roofline.by_products ? "GEMM" : "copying")
                             : fmt::format("{:>7}", "-");
    fmt::print("{:<24} {:7.2f} ms {:7.2f} ms {:5.1f} % {:>10} {:>11}  {}\n", op.op,
               1e3 * op.forward_seconds, 1e3 * op.backward_seconds, 100 * op.seconds() / total,
               work_words(op.forward_flops + op.backward_flops, 1e9, "GF"),
               work_words(op.forward_bytes + op.backward_bytes, 1e6, "MB"), reached);
  }
}

void print_text(const reports::BenchRun& run) {
  fmt::print("{}, {}, {}, {} x {} tokens, {} threads, {}\n", run.config, run.dtype, run.attention,
             run.batch, run.tokens, run.threads, run.cpu_model);
  fmt::print("this machine: {:.0f} GF/s of at::mm in {}, {:.1f} GB/s of copying\n\n",
             1e-9 * run.gemm_flops_per_second, run.dtype, 1e-9 * run.copy_bytes_per_second);
  print_passes("forward", run.forward_seconds);
  print_passes("forward and backward", run.forward_backward_seconds);
  if (!run.ops.empty()) {
    print_ops(run);
  }
  if (!run.memory.empty()) {
    fmt::print("\n{:<32} {:>12} {:>12}\n", "memory of tensors", "peak", "at its end");
  }
  for (const reports::MemoryPhase& phase : run.memory) {
    fmt::print("{:<32} {:8.1f} MiB {:8.1f} MiB\n", phase.phase,
               static_cast<double>(phase.peak_bytes) / (1 << 20),
               static_cast<double>(phase.live_bytes) / (1 << 20));
  }
}

core::ExitCode count(const BenchOptions& options) {
  if (options.against.empty()) {
    fmt::print("{}\n", bench::to_json(bench::count_all()).dump(1));
    return core::ExitCode::kPass;
  }
  const std::vector<bench::CountedPass> committed = bench::read_counters(options.against);
  const std::vector<bench::CountedPass> found = bench::count_all();
  const std::vector<std::string> all = bench::differences(found, committed);
  for (const std::string& difference : all) {
    fmt::print(stderr, "{}\n", difference);
  }
  if (!all.empty()) {
    fmt::print(stderr, "If that is meant: sparity bench --counters > {}\n", options.against);
    return core::ExitCode::kPerformanceRegressed;
  }
  fmt::print("{} passes as committed\n", found.size());
  return core::ExitCode::kPass;
}

core::ExitCode run(const BenchOptions& options) {
  if (options.threads > 0) {
    at::set_num_threads(options.threads);
  }
  const at::NoGradGuard no_gradients;
  if (options.counters) {
    return count(options);
  }
  SPARITY_CHECK_INPUT(options.against.empty(), "--against: expected --counters beside it");
  const reports::BenchRun run = measure(options);
  const std::string document = reports::to_json(run).dump(1) + "\n";
  if (!options.out.empty()) {
    const std::filesystem::path file = std::filesystem::path(options.out) / "bench.json";
    std::filesystem::create_directories(options.out);
    core::write_file_atomically(file, document);
    reports::render_performance({file});
  }
  if (options.json) {
    fmt::print("{}", document);
  } else {
    print_text(run);
  }
  return core::ExitCode::kPass;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App& command =
      *app.add_subcommand("bench", "Times forward and backward passes, and says where time goes");
  options->source.config = "fork-small";
  add_source_options(command, options->source);
  command
      .add_option("--tokens", options->tokens,
                  "Seeded rows of this many tokens instead of --inputs")
      ->check(CLI::Range(2, 1 << 20))
      ->type_name("N");
  add_dtype_option(command, options->dtype);
  add_attention_option(command, options->attention);
  add_threads_option(command, options->threads);
  command.add_option("--repeat", options->repeat, "Passes to time, after one to warm up")
      ->check(CLI::Range(1, 100000))
      ->type_name("N")
      ->capture_default_str();
  command.add_flag("--backward", options->backward,
                   "Also time forward and backward of the LM loss");
  command.add_flag("--profile", options->profile,
                   "Seconds by operation, share of the roofline, memory by phase");
  command.add_option("--out", options->out, "Also write bench.json and performance.html there")
      ->type_name("DIR");
  command.add_flag("--json", options->json, "Print the figures as JSON");
  command.add_flag("--counters", options->counters,
                   "Instead: count allocations, bytes and flops of fixed passes on one thread");
  command
      .add_option("--against", options->against,
                  "With --counters: exit code 2 unless within 1 % of this file")
      ->type_name("FILE");
  command.footer(example("sparity bench --config fork-small --tokens 2048 --backward --profile"));
  command.callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace sparity::cli
