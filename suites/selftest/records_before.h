#pragma once

#include "suites/judge/json_array.h"
#include "suites/judge/record.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace sparity::selftest {

/// Comparisons as journals and reports before version 1.3 hold them; `undecided`, which came after
/// 1.2, is left out.
inline nlohmann::json comparisons_before_13(const std::vector<judge::Comparison>& comparisons) {
  using nlohmann::json;
  const auto number = [](double value) {
    return std::isnan(value)   ? json("nan")
           : std::isinf(value) ? json(value > 0 ? "inf" : "-inf")
                               : json(value);
  };
  const auto hexadecimal = [&](double value) {
    char text[40];
    std::snprintf(text, sizeof(text), "%a", value);
    return std::isfinite(value) ? json(text) : number(value);
  };
  const auto gate = [&](const judge::Gate& of) {
    return json{{"name", of.name},
                {"lhs", number(of.lhs)},
                {"rhs", number(of.rhs)},
                {"lhs_hex", hexadecimal(of.lhs)},
                {"ok", of.ok},
                {"rhs_hex", hexadecimal(of.rhs)},
                {"blocking", of.blocking},
                {"note", of.note}};
  };
  const auto worst = [&](const judge::WorstElement& of) {
    return json{{"index", of.index},
                {"candidate", number(of.candidate)},
                {"baseline", number(of.baseline)},
                {"truth", number(of.truth)},
                {"ulps", number(of.ulps)},
                {"share", number(of.share)}};
  };
  const auto bucket = [&](const judge::MagnitudeBucket& of) {
    return json{{"from", number(of.from)},
                {"to", number(of.to)},
                {"count", of.count},
                {"rms_candidate", number(of.rms_candidate)},
                {"rms_baseline", number(of.rms_baseline)},
                {"max_candidate", number(of.max_candidate)}};
  };
  return judge::array_of(comparisons, [&](const judge::Comparison& of) {
    json map;
    if (of.error_map) {
      map = {{"rows", of.error_map->rows},
             {"columns", of.error_map->columns},
             {"cells", judge::array_of(of.error_map->cells, number)}};
    }
    return json{{"tensor", of.tensor},
                {"dtype", core::to_string(of.dtype)},
                {"shape", of.shape},
                {"gates", judge::array_of(of.gates, gate)},
                {"rms_truth", number(of.rms_truth)},
                {"rms_candidate_error", number(of.rms_candidate_error)},
                {"rms_baseline_error", number(of.rms_baseline_error)},
                {"relative_l2", number(of.relative_l2)},
                {"cosine", number(of.cosine)},
                {"calc_diff", number(of.calc_diff)},
                {"worst", judge::array_of(of.worst, worst)},
                {"buckets", judge::array_of(of.buckets, bucket)},
                {"error_map", map}};
  });
}

}  // namespace sparity::selftest
