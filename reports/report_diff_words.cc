#include "reports/report_diff_pages.h"
#include "reports/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace sparity::reports {

namespace {

/// "The run, 2 suite runs and 12 cases"
std::string worse_ones(const ReportDiff& diff) {
  const auto suites = std::ranges::count_if(diff.suites, &VerdictChange::got_worse);
  const auto cases = std::ranges::count_if(diff.cases, &VerdictChange::got_worse);
  std::vector<std::string> parts;
  if (badness(diff.after.verdict) > badness(diff.before.verdict)) {
    parts.emplace_back("The run");
  }
  if (suites > 0) {
    parts.push_back(counted(suites, "suite run"));
  }
  if (cases > 0) {
    parts.push_back(counted(cases, "case"));
  }
  std::string out;
  for (std::size_t index = 0; index < parts.size(); ++index) {
    out += (index == 0 ? "" : index + 1 == parts.size() ? " and " : ", ") + parts[index];
  }
  return out;
}

}  // namespace

std::string diff_headline(const ReportDiff& diff) {
  if (diff.empty()) {
    return "Nothing changed";
  }
  if (diff.got_worse()) {
    return worse_ones(diff) + " got worse";
  }
  const auto changed = static_cast<std::int64_t>(diff.suites.size() + diff.cases.size()) +
                       (diff.verdict_changed() ? 1 : 0);
  return changed == 0 ? "No verdict changed"
                      : counted(changed, "verdict") + " changed, none for the worse";
}

std::string diff_moves(const ReportDiff& diff) {
  return fmt::format(
      "{} compared in both. {} lost headroom: the error over what is allowed rose by at least "
      "{:g}, "
      "or by {:g} of itself where it was above 1. {} rose by less and are not listed; {} fell.",
      counted(diff.tensors_paired, "tensor"), diff.rises.size(), kListedRise, kListedRise,
      diff.rises_below, diff.falls + diff.falls_below);
}

std::string shown_setting(const std::string& value) {
  constexpr std::size_t kShown = 12;
  const bool is_hash =
      value.size() > 2 * kShown && value.find_first_not_of("0123456789abcdef") == std::string::npos;
  return is_hash ? value.substr(0, kShown) + "…" : value;
}

std::string diff_caution(const ReportDiff& diff) {
  std::string what;
  for (const SettingChange& setting : diff.settings) {
    if (setting.kind == SettingChange::Kind::kQuestion) {
      what += (what.empty() ? "" : ", ") + setting.name;
    }
  }
  return what.empty() ? what
                      : fmt::format(
                            "Unlike things are compared: the reports differ in {}. What "
                            "changed may come from that and not from the code.",
                            what);
}

}  // namespace sparity::reports
