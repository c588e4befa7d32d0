#include "suites/judge/comparisons_json.h"

#include "suites/judge/condensed.h"
#include "suites/judge/json_array.h"
#include "suites/judge/json_members.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace sparity::judge {

namespace {

using nlohmann::json;

std::string hexadecimal(double value) {
  const json plain = number_json(value);
  if (plain.is_string()) {
    return plain.get<std::string>();
  }
  char text[40];
  std::snprintf(text, sizeof(text), "%a", value);
  return text;
}

json worst_json(const WorstElement& element) {
  return {{"index", element.index},
          {"candidate", number_json(element.candidate)},
          {"baseline", number_json(element.baseline)},
          {"truth", number_json(element.truth)},
          {"ulps", number_json(element.ulps)},
          {"share", number_json(element.share)}};
}

json bucket_json(const MagnitudeBucket& bucket) {
  return {{"from", number_json(bucket.from)},
          {"to", number_json(bucket.to)},
          {"count", bucket.count},
          {"rms_candidate", number_json(bucket.rms_candidate)},
          {"rms_baseline", number_json(bucket.rms_baseline)},
          {"max_candidate", number_json(bucket.max_candidate)}};
}

json map_json(const ErrorMap& map) {
  return {
      {"rows", map.rows}, {"columns", map.columns}, {"cells", array_of(map.cells, number_json)}};
}

/// A whole number without its ".0".
json short_number(double value) {
  constexpr double kMost = 1e15;
  const bool whole =
      value >= 0 && value < kMost && value == static_cast<double>(static_cast<std::int64_t>(value));
  return whole ? json(static_cast<std::int64_t>(value)) : number_json(value);
}

bool is_zero(const Gate& gate) { return gate.lhs == 0 && gate.rhs == 0; }

json gate_set(const std::vector<Gate>& gates) {
  json set = {{"names", json::array()}, {"advisory", json::array()}, {"zero", json::array()}};
  for (std::size_t index = 0; index < gates.size(); ++index) {
    set["names"].push_back(gates[index].name);
    if (!gates[index].blocking) {
      set["advisory"].push_back(index);
    }
    if (is_zero(gates[index])) {
      set["zero"].push_back(index);
    }
  }
  return set;
}

json gate_evidence(const std::vector<Gate>& gates) {
  json out = json::array();
  for (std::size_t index = 0; index < gates.size(); ++index) {
    const Gate& gate = gates[index];
    if (!is_comfortable(gate) || !gate.note.empty()) {
      out.push_back({{"gate", index},
                     {"ok", gate.ok},
                     {"lhs_hex", hexadecimal(gate.lhs)},
                     {"rhs_hex", hexadecimal(gate.rhs)},
                     {"note", gate.note}});
    }
  }
  return out;
}

json evidence(std::size_t index, const Comparison& comparison) {
  return {{"comparison", index},
          {"gates", gate_evidence(comparison.gates)},
          {"rms_truth", number_json(comparison.rms_truth)},
          {"rms_candidate_error", number_json(comparison.rms_candidate_error)},
          {"rms_baseline_error", number_json(comparison.rms_baseline_error)},
          {"relative_l2", number_json(comparison.relative_l2)},
          {"cosine", number_json(comparison.cosine)},
          {"calc_diff", number_json(comparison.calc_diff)},
          {"undecided", comparison.undecided},
          {"worst", array_of(comparison.worst, worst_json)},
          {"buckets", array_of(comparison.buckets, bucket_json)},
          {"error_map", comparison.error_map ? map_json(*comparison.error_map) : json(nullptr)}};
}

/// How many parts between dots both names begin with, and how many bytes they are, dots included.
std::pair<std::int64_t, std::size_t> shared_parts(std::string_view before, std::string_view name) {
  std::pair<std::int64_t, std::size_t> shared{0, 0};
  const std::size_t length = std::min(before.size(), name.size());
  for (std::size_t at = 0; at < length && before[at] == name[at]; ++at) {
    if (name[at] == '.') {
      shared = {shared.first + 1, at + 1};
    }
  }
  return shared;
}

/// Values met, each once, in the order in which they were first met.
class Distinct {
 public:
  std::size_t index_of(const json& value) {
    const auto [place, added] = places_.try_emplace(
        value.dump(-1, ' ', false, json::error_handler_t::replace), values_.size());
    if (added) {
      values_.push_back(value);
    }
    return place->second;
  }
  json take() { return std::move(values_); }

 private:
  std::map<std::string, std::size_t> places_;
  json values_ = json::array();
};

}  // namespace

json comparisons_to_json(const std::vector<Comparison>& comparisons) {
  json out = {{"tensors", json::array()},
              {"shared", json::array()},
              {"kind_of", json::array()},
              {"sides", json::array()},
              {"evidence", json::array()}};
  Distinct kinds;
  Distinct gate_sets;
  std::string before;
  for (std::size_t index = 0; index < comparisons.size(); ++index) {
    const Comparison comparison = condensed(comparisons[index]);
    const auto [parts, bytes] = shared_parts(before, comparison.tensor);
    out["shared"].push_back(parts);
    out["tensors"].push_back(comparison.tensor.substr(bytes));
    before = comparison.tensor;
    out["kind_of"].push_back(
        kinds.index_of({{"dtype", core::to_string(comparison.dtype)},
                        {"shape", comparison.shape},
                        {"gates", gate_sets.index_of(gate_set(comparison.gates))}}));
    for (const Gate& gate : comparison.gates) {
      if (!is_zero(gate)) {
        out["sides"].push_back(short_number(gate.lhs));
        out["sides"].push_back(short_number(gate.rhs));
      }
    }
    if (!held_comfortably(comparison)) {
      out["evidence"].push_back(evidence(index, comparison));
    }
  }
  out["kinds"] = kinds.take();
  out["gate_sets"] = gate_sets.take();
  return out;
}

}  // namespace sparity::judge
