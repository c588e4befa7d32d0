#include "reports/html_performance.h"

#include "reports/html_parts.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

namespace sparity::reports {

namespace {

std::string data_html(double value, std::string_view text) {
  if (!std::isfinite(value)) {
    return number_html(value);
  }
  return fmt::format(R"(<data value="{:.17g}">{}</data>)", value, text);
}

std::string milliseconds(double seconds) {
  const double value = seconds * 1e3;
  return data_html(seconds, fmt::format("{:.{}f} ms", value, value < 10 ? 2 : value < 100 ? 1 : 0));
}

std::string mebibytes(std::int64_t bytes) {
  const double value = static_cast<double>(bytes);
  return data_html(value, fmt::format("{:.1f} MiB", value / (1 << 20)));
}

std::string gigaflops(double flops_per_second) {
  return data_html(flops_per_second, fmt::format("{:.0f} GF/s", flops_per_second / 1e9));
}

/// Parts side by side in a bar of width 1, each with its style.
std::string bar_html(const std::vector<std::pair<std::string_view, double>>& parts) {
  std::string out =
      R"(<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">)"
      R"(<rect class="track" width="100" height="10"/>)";
  double left = 0;
  for (const auto& [style, share] : parts) {
    const double width =
        std::isnan(share) ? 0 : std::clamp(100 * share, 0.0, std::max(100 - left, 0.0));
    out += fmt::format(R"(<rect class="{}" x="{:.1f}" width="{:.1f}" height="10"/>)", style, left,
                       width);
    left += width;
  }
  return out + "</svg>";
}

std::string with_bar(const std::vector<std::pair<std::string_view, double>>& parts,
                     std::string_view text) {
  return fmt::format(R"(<span class="hr">{}{}</span>)", bar_html(parts), text);
}

std::string percent(double share) {
  return data_html(share, fmt::format("{:.{}f} %", 100 * share, share < 0.1 ? 1 : 0));
}

// --- Beside transformers ------------------------------------------------------------------------

/// A ratio, and whether it is what was aimed at.
std::string ratio_html(std::optional<double> found, std::optional<double> target) {
  if (!found) {
    return R"(<span class="quiet">not run</span>)";
  }
  std::string out = data_html(*found, fmt::format("{:.1f}×", *found));
  if (target) {
    const bool met = *found >= *target;
    out +=
        fmt::format(R"( <span class="st {0}"><svg class="i" aria-hidden="true">)"
                    R"(<use href="#i-{0}"/></svg>{1}</span> <span class="quiet">{2:.1f}×</span>)",
                    met ? "pass" : "fail", met ? "meets" : "misses", *target);
  }
  return out;
}

std::string pass_words(const std::string& pass) {
  return pass == "forward" ? "forward" : "forward and backward";
}

std::string against_transformers_section(const AgainstTransformers& comparison) {
  Table table("Beside transformers", {{"Pass"},
                                      {"Tokens", Table::Align::kNumber},
                                      {"Sparity", Table::Align::kNumber},
                                      {"Memory", Table::Align::kNumber},
                                      {"Speed, plain"},
                                      {"Speed, tuned"},
                                      {"Memory saved"},
                                      {"GEMM probe", Table::Align::kNumber}});
  for (const ComparedPass& pass : comparison.passes) {
    const Ratios ratios = ratios_of(pass);
    table.row(
        {pass_words(pass.pass), fmt::format("{}", pass.tokens), milliseconds(pass.ours.seconds),
         mebibytes(pass.ours.bytes), ratio_html(ratios.plain, pass.target_plain),
         ratio_html(ratios.tuned, pass.target_tuned), ratio_html(ratios.memory, pass.target_memory),
         gigaflops(pass.gemm_flops_per_second)});
  }
  return fmt::format(
             "<section id=\"transformers\">\n<h2>Beside transformers</h2>\n"
             "<p class=\"quiet\">transformers {} and <code>sparity run</code> took turns on {}, "
             "{}, {}, float32, batch 1. Ratios are theirs over ours: above 1×, Sparity is faster "
             "or smaller. <i>Tuned</i> is with its malloc told to keep large blocks; memory is the "
             "peak above an empty process, beside the smaller of theirs. A slow probe means a slow "
             "moment.</p>\n",
             name_html(comparison.transformers), name_html(comparison.cpu_model),
             counted(comparison.threads, "thread"), name_html(comparison.config)) +
         table.html() + "</section>\n";
}

// --- Alone --------------------------------------------------------------------------------------

double fastest(const std::vector<double>& seconds) {
  return *std::min_element(seconds.begin(), seconds.end());
}

std::string spread(const std::vector<double>& seconds) {
  return fmt::format("{} to {}", milliseconds(fastest(seconds)),
                     milliseconds(*std::max_element(seconds.begin(), seconds.end())));
}

std::string passes_section(const BenchRun& bench) {
  Table table("Passes", {{"Pass"},
                         {"Fastest", Table::Align::kNumber},
                         {"Fastest to slowest", Table::Align::kNumber},
                         {"Passes", Table::Align::kNumber},
                         {"Tokens a second", Table::Align::kNumber}});
  const auto row = [&](std::string_view name, const std::vector<double>& seconds) {
    if (seconds.empty()) {
      return;
    }
    const double rate = static_cast<double>(bench.batch * bench.tokens) / fastest(seconds);
    table.row({std::string(name), milliseconds(fastest(seconds)), spread(seconds),
               fmt::format("{}", seconds.size()), data_html(rate, fmt::format("{:.0f}", rate))});
  };
  row("forward", bench.forward_seconds);
  row("forward and backward", bench.forward_backward_seconds);
  return "<section id=\"passes\">\n<h2>Whole passes</h2>\n" + table.html() + "</section>\n";
}

std::string or_dash(double value, std::string (*text)(double)) {
  return value > 0 ? text(value) : "–";
}

std::string gigaflop_html(double flops) {
  return data_html(flops, fmt::format("{:.2f} GF", flops / 1e9));
}

std::string moved_html(double bytes) {
  return data_html(bytes, fmt::format("{:.1f} MB", bytes / 1e6));
}

/// Of one operation, or of the whole pass.
struct OpFigures {
  OpTime work;
  double roofline_seconds = 0;

  void add(const OpTime& op, double seconds) {
    work.forward_seconds += op.forward_seconds;
    work.backward_seconds += op.backward_seconds;
    work.forward_flops += op.forward_flops;
    work.backward_flops += op.backward_flops;
    work.forward_bytes += op.forward_bytes;
    work.backward_bytes += op.backward_bytes;
    roofline_seconds += seconds;
  }
  /// `limit` is what the roofline consists of, where it is one thing.
  std::vector<std::string> cells(std::string name, std::string share,
                                 std::string_view limit) const {
    const double reached = roofline_seconds / work.seconds();
    const bool has_roofline = std::isfinite(reached) && reached > 0;
    const std::string by =
        limit.empty() ? "" : fmt::format(R"( <span class="quiet">{}</span>)", limit);
    return {std::move(name),
            std::move(share),
            or_dash(work.forward_seconds, milliseconds),
            or_dash(work.backward_seconds, milliseconds),
            or_dash(work.forward_flops + work.backward_flops, gigaflop_html),
            or_dash(work.forward_bytes + work.backward_bytes, moved_html),
            has_roofline ? with_bar({{"within", reached}}, percent(reached)) + by : "–"};
  }
};

std::string ops_table(const BenchRun& bench) {
  std::vector<OpTime> ops = bench.ops;
  std::ranges::stable_sort(ops, std::greater(), &OpTime::seconds);
  const double total = total_seconds(ops);
  const double longest = ops.front().seconds();
  Table table("Seconds by operation", {{"Operation"},
                                       {"Share of the pass"},
                                       {"Forward", Table::Align::kNumber},
                                       {"Backward", Table::Align::kNumber},
                                       {"GEMM work", Table::Align::kNumber},
                                       {"Moves", Table::Align::kNumber},
                                       {"Share of the roofline"}});
  OpFigures whole;
  for (const OpTime& op : ops) {
    const Roofline roofline = roofline_of(op, bench);
    whole.add(op, roofline.seconds);
    const std::string share = percent(total > 0 ? op.seconds() / total : 0);
    table.row(OpFigures{op, roofline.seconds}.cells(
        name_html(op.op),
        with_bar({{"forward", op.forward_seconds / longest},
                  {"backward", op.backward_seconds / longest}},
                 share),
        roofline.by_products ? "GEMM" : "copying"));
  }
  table.row(whole.cells("<b>whole pass</b>", percent(total > 0 ? 1 : 0), ""));
  return table.html();
}

std::string ops_section(const BenchRun& bench) {
  if (bench.ops.empty()) {
    return {};
  }
  return fmt::format(
             "<section id=\"operations\">\n<h2>Seconds by operation</h2>\n"
             "<p class=\"quiet\">Of the fastest profiled pass. Work and bytes are what an "
             "operation cannot do without, from the config's dimensions: its matrix products, its "
             "operands and results moved once. The roofline is the longer of the two at this "
             "machine's own rates, measured in the same process: {} of a product of two {} "
             "matrices, {} of copying memory. Above 100 % of copying, operands came from a cache. "
             "Scores of keys and their choice are one operation: scores exist tile by tile, and "
             "each tile goes into the choice at once.</p>\n"
             "<p class=\"legend\"><span><span class=\"key forward\"></span>"
             "forward</span><span><span class=\"key backward\"></span>backward</span></p>\n",
             gigaflops(bench.gemm_flops_per_second), name_html(bench.dtype),
             data_html(bench.copy_bytes_per_second,
                       fmt::format("{:.1f} GB/s", bench.copy_bytes_per_second / 1e9))) +
         ops_table(bench) + "</section>\n";
}

std::string memory_section(const BenchRun& bench) {
  if (bench.memory.empty()) {
    return {};
  }
  const std::int64_t most =
      std::ranges::max_element(bench.memory, {}, &MemoryPhase::peak_bytes)->peak_bytes;
  const auto share = [&](std::int64_t bytes) {
    return most > 0 ? static_cast<double>(bytes) / static_cast<double>(most) : 0.0;
  };
  Table table("Memory by phase", {{"Phase"}, {"Peak"}, {"Alive at its end"}});
  for (const MemoryPhase& phase : bench.memory) {
    table.row({name_html(phase.phase),
               with_bar({{"forward", share(phase.peak_bytes)}}, mebibytes(phase.peak_bytes)),
               with_bar({{"within", share(phase.live_bytes)}}, mebibytes(phase.live_bytes))});
  }
  return "<section id=\"memory\">\n<h2>Memory by phase</h2>\n"
         "<p class=\"quiet\">Bytes of tensors, as LibTorch's allocator was asked for them, weights "
         "included.</p>\n" +
         table.html() + "</section>\n";
}

/// What was run, on what, and the answer in one line.
std::string head(const Performance& performance) {
  std::string out = "<section id=\"top\" class=\"banner skip\">\n";
  if (!performance.bench) {
    return out + "<h1>Performance</h1>\n</section>\n";
  }
  const BenchRun& bench = *performance.bench;
  const std::vector<double>& seconds =
      bench.forward_seconds.empty() ? bench.forward_backward_seconds : bench.forward_seconds;
  out += fmt::format(
      "<p class=\"subject\">{} · {} · {} · {} of {} tokens · {} · {}</p>\n<h1>Performance</h1>\n",
      name_html(bench.config), name_html(bench.dtype), name_html(bench.attention),
      counted(bench.batch, "row"), bench.tokens, counted(bench.threads, "thread"),
      name_html(bench.cpu_model));
  out += fmt::format("<p class=\"why\">A {} pass takes {}",
                     bench.forward_seconds.empty() ? "forward and backward" : "forward",
                     milliseconds(fastest(seconds)));
  if (!bench.forward_seconds.empty() && !bench.forward_backward_seconds.empty()) {
    out += fmt::format(", with its backward {}",
                       milliseconds(fastest(bench.forward_backward_seconds)));
  }
  if (const double total = total_seconds(bench.ops); total > 0) {
    const auto& most = *std::ranges::max_element(bench.ops, {}, &OpTime::seconds);
    out += fmt::format("; {} is {} of what was profiled", name_html(most.op),
                       percent(most.seconds() / total));
  }
  return out + ".</p>\n</section>\n";
}

std::string footer(const Performance& performance) {
  if (!performance.bench) {
    return "<footer>Sparity</footer>\n";
  }
  const BenchRun& bench = *performance.bench;
  return fmt::format("<footer>Sparity {} · {} · config {}</footer>\n",
                     name_html(bench.tool_version),
                     bench.git_commit.empty() ? "no commit recorded" : name_html(bench.git_commit),
                     name_html(bench.config_hash));
}

}  // namespace

Ratios ratios_of(const ComparedPass& pass) {
  const auto over = [](double theirs, double ours) {
    return ours > 0 ? std::optional(theirs / ours) : std::nullopt;
  };
  Ratios ratios;
  std::optional<std::int64_t> smallest;
  const auto take = [&](const std::optional<Measured>& theirs, std::optional<double>& ratio) {
    if (theirs) {
      ratio = over(theirs->seconds, pass.ours.seconds);
      smallest = std::min(smallest.value_or(theirs->bytes), theirs->bytes);
    }
  };
  take(pass.plain, ratios.plain);
  take(pass.tuned, ratios.tuned);
  if (smallest) {
    ratios.memory = over(static_cast<double>(*smallest), static_cast<double>(pass.ours.bytes));
  }
  return ratios;
}

std::string performance_page(const Performance& performance) {
  std::string body = "<main>\n" + head(performance);
  if (performance.against_transformers) {
    body += against_transformers_section(*performance.against_transformers);
  }
  if (performance.bench) {
    body += passes_section(*performance.bench) + ops_section(*performance.bench) +
            memory_section(*performance.bench);
  }
  return document_html("Performance – Sparity",
                       R"(<a class="skip-link" href="#top">Skip to the figures</a>)",
                       body + "</main>\n" + footer(performance));
}

}  // namespace sparity::reports
