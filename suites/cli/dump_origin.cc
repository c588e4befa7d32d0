#include "suites/cli/dump_origin.h"

#include "src/core/file_io.h"
#include "src/core/strict_json.h"

#include <fmt/format.h>

#include <charconv>
#include <string>
#include <system_error>

namespace sparity::cli {

namespace {

constexpr const char* kTrust = "; if you know where it comes from, say --trust-baseline";

void check_values(const Dump& dump) {
  const std::string values = recorded(dump, "forced_values").value_or("");
  if (!values.empty()) {
    refuse_metadata(dump, "forced_values", "none but choices (--force-names '*topk_indices')",
                    core::quote(values));
  }
}

/// Whether the reference made it of its own: false where that is only trusted.
bool check_maker(const CompareOptions& options, const Dump& dump) {
  const std::optional<std::string> impl = recorded(dump, "impl");
  if (impl == "src") {
    refuse_metadata(dump, "impl", "reference", "src, which is what is to be judged");
  }
  if (impl != "reference" && !options.trust_baseline) {
    refuse_metadata(dump, "impl", "reference", (impl ? core::quote(*impl) : "none") + kTrust);
  }
  check_values(dump);
  const bool says_forced = recorded(dump, "forced_values") && forced_choices(dump);
  if (!says_forced && !options.trust_baseline) {
    refuse_metadata(dump, recorded(dump, "forced_values") ? "forced_choices" : "forced_values",
                    "what was forced, as `sparity run` records it", std::string("none") + kTrust);
  }
  return impl == "reference" && says_forced;
}

bool check_maker(const CompareOptions& options, const Dump& dump, DumpSet& set) {
  const bool known = check_maker(options, dump);
  if (!known) {
    set.conditions.push_back(
        {fmt::format("the origin of {} is known", dump.path), false, false,
         "trusted (--trust-baseline): the verdict is worth what this file is worth"});
  }
  return known;
}

/// Of a truth or baseline that followed somebody's choices.
void add_provenance(const CompareOptions& options, const Dump& dump, DumpSet& set) {
  const std::optional<std::string> hash = recorded(dump, "forced_sha256");
  if (!hash) {
    return;
  }
  const std::string candidate = core::sha256_of_file(options.candidate);
  set.conditions.push_back(
      {fmt::format("{} followed the choices of the candidate's file", dump.path),
       *hash == candidate, false,
       fmt::format("forced from a file of SHA-256 {}, the candidate's is {}", core::quote(*hash),
                   candidate)});
}

}  // namespace

std::optional<std::int64_t> forced_choices(const Dump& dump) {
  const std::optional<std::string> text = recorded(dump, "forced_choices");
  if (!text) {
    return std::nullopt;
  }
  std::int64_t count = 0;
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, count);
  if (error != std::errc() || stop != end || count < 0) {
    refuse_metadata(dump, "forced_choices", "a number of choices", core::quote(*text));
  }
  return count;
}

void check_origin(const CompareOptions& options, DumpSet& set) {
  check_maker(options, set.truth, set);
  if (set.baseline) {
    set.baseline_known = check_maker(options, *set.baseline, set);
  }
  check_values(set.candidate);
  add_provenance(options, set.truth, set);
  if (set.baseline) {
    add_provenance(options, *set.baseline, set);
  }
}

}  // namespace sparity::cli
