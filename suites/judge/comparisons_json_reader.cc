#include "src/core/dtype.h"
#include "src/core/error.h"
#include "suites/judge/comparisons_json.h"
#include "suites/judge/condensed.h"
#include "suites/judge/gates.h"
#include "suites/judge/json_members.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sparity::judge {

namespace {

using nlohmann::json;

bool same_number(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

/// Refuses a hexadecimal twin of `value`, the number called `key`, that does not confirm it.
void check_twin(JsonMembers& members, const std::string& key, double value) {
  const std::string twin = members.text(key + "_hex");
  char* end = nullptr;
  const double exact = std::strtod(twin.c_str(), &end);
  if (twin.empty() || *end != '\0' || !same_number(value, exact)) {
    members.fail(key + "_hex", fmt::format("{:a}", value), twin);
  }
}

/// Refuses what `members` say of a gate beside its sides, if it is not what they give.
void check_decision(JsonMembers& members, const Gate& gate) {
  check_twin(members, "lhs", gate.lhs);
  check_twin(members, "rhs", gate.rhs);
  const bool ok = members.boolean("ok");
  if (gate.ok != ok) {
    members.fail("ok", gate.ok ? "true, by its two sides" : "false, by its two sides",
                 ok ? "true" : "false");
  }
}

Gate gate_before_13(const json& object, const std::string& source, const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  const double lhs = members.number("lhs");
  const double rhs = members.number("rhs");
  const bool blocking = members.boolean("blocking");
  Gate gate = make_gate(members.text("name"), lhs, rhs, blocking, members.text("note"));
  check_decision(members, gate);
  members.finish();
  return gate;
}

WorstElement read_worst(const json& object, const std::string& source, const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  WorstElement element{.index = members.integers("index"),
                       .candidate = members.number("candidate"),
                       .baseline = members.number("baseline"),
                       .truth = members.number("truth"),
                       .ulps = members.number("ulps"),
                       .share = members.number("share")};
  members.finish();
  return element;
}

MagnitudeBucket read_bucket(const json& object, const std::string& source,
                            const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  const MagnitudeBucket bucket{.from = members.number("from"),
                               .to = members.number("to"),
                               .count = members.integer("count"),
                               .rms_candidate = members.number("rms_candidate"),
                               .rms_baseline = members.number("rms_baseline"),
                               .max_candidate = members.number("max_candidate")};
  members.finish();
  return bucket;
}

std::optional<ErrorMap> read_map(const json& object, const std::string& source,
                                 const std::string& pointer) {
  if (object.is_null()) {
    return std::nullopt;
  }
  JsonMembers members(object, source, pointer);
  ErrorMap map{.rows = members.integer("rows"),
               .columns = members.integer("columns"),
               .cells = members.items("cells", number_from_json)};
  constexpr std::int64_t kMost = 64;
  const bool bounded =
      map.rows >= 0 && map.columns >= 0 && map.rows <= kMost && map.columns <= kMost;
  if (!bounded || map.rows * map.columns != static_cast<std::int64_t>(map.cells.size())) {
    members.fail("cells", fmt::format("{} × {} cells, at most 64 × 64", map.rows, map.columns),
                 std::to_string(map.cells.size()));
  }
  members.finish();
  return map;
}

void read_evidence(JsonMembers& members, const std::string& source, Comparison& comparison) {
  comparison.rms_truth = members.number("rms_truth");
  comparison.rms_candidate_error = members.number("rms_candidate_error");
  comparison.rms_baseline_error = members.number("rms_baseline_error");
  comparison.relative_l2 = members.number("relative_l2");
  comparison.cosine = members.number("cosine");
  comparison.calc_diff = members.number("calc_diff");
  comparison.worst = members.items("worst", read_worst);
  comparison.buckets = members.items("buckets", read_bucket);
  comparison.error_map = read_map(members.need("error_map"), source, members.pointer("error_map"));
}

/// What comparisons of one record share, as comparisons_json.h describes it.
struct GateSet {
  std::vector<std::string> names;
  std::vector<std::int64_t> advisory;
  std::vector<std::int64_t> zero;
};

struct Kind {
  core::Dtype dtype = core::Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::int64_t gates = 0;
};

std::string read_text(const json& value, const std::string& source, const std::string& pointer) {
  SPARITY_CHECK_INPUT(value.is_string(), fmt::format("{}: {}: expected a string, found {}", source,
                                                     pointer, value.type_name()));
  return value.get<std::string>();
}

/// Integers from 0, below `end`.
std::vector<std::int64_t> read_indices(JsonMembers& members, std::string_view key,
                                       std::size_t end) {
  std::vector<std::int64_t> indices = members.integers(key);
  for (const std::int64_t index : indices) {
    if (index < 0 || index >= static_cast<std::int64_t>(end)) {
      members.fail(key, fmt::format("integers from 0, below {}", end), std::to_string(index));
    }
  }
  return indices;
}

bool holds(const std::vector<std::int64_t>& indices, std::size_t index) {
  return std::ranges::find(indices, static_cast<std::int64_t>(index)) != indices.end();
}

GateSet read_gate_set(const json& object, const std::string& source, const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  GateSet set;
  set.names = members.items("names", read_text);
  set.advisory = read_indices(members, "advisory", set.names.size());
  set.zero = read_indices(members, "zero", set.names.size());
  members.finish();
  return set;
}

Kind read_kind(const json& object, const std::string& source, const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  Kind kind{.dtype = members.named("dtype", core::dtype_from_string, "a dtype"),
            .shape = members.integers("shape"),
            .gates = members.count("gates")};
  members.finish();
  return kind;
}

/// The first `parts` parts of `name`, each with its dot; nothing where it has fewer.
std::optional<std::string> first_parts(const std::string& name, std::int64_t parts) {
  std::size_t end = 0;
  for (; parts > 0; --parts) {
    end = name.find('.', end);
    if (end == std::string::npos) {
      return std::nullopt;
    }
    ++end;
  }
  return name.substr(0, end);
}

/// The comparisons without their evidence, out of columns whose lengths have to agree.
class Columns {
 public:
  Columns(JsonMembers& members)
      : members_(members),
        tensors_(members.items("tensors", read_text)),
        shared_(members.integers("shared")),
        gate_sets_(members.items("gate_sets", read_gate_set)),
        kinds_(members.items("kinds", read_kind)),
        kind_of_(read_indices(members, "kind_of", kinds_.size())),
        sides_(members.items("sides", number_from_json)) {
    check_length("shared", shared_.size());
    check_length("kind_of", kind_of_.size());
  }

  std::vector<Comparison> comparisons() {
    std::vector<Comparison> result;
    for (std::size_t index = 0; index < tensors_.size(); ++index) {
      const Kind& kind = kinds_[static_cast<std::size_t>(kind_of_[index])];
      Comparison comparison;
      comparison.tensor = name_at(index, result.empty() ? std::string() : result.back().tensor);
      comparison.dtype = kind.dtype;
      comparison.shape = kind.shape;
      comparison.gates = gates_of(kind);
      result.push_back(std::move(comparison));
    }
    if (next_side_ != sides_.size()) {
      members_.fail("sides", fmt::format("{} numbers, as the gates have", next_side_),
                    std::to_string(sides_.size()));
    }
    return result;
  }

 private:
  void check_length(std::string_view key, std::size_t length) const {
    if (length != tensors_.size()) {
      members_.fail(key, fmt::format("{} values, as there are tensors", tensors_.size()),
                    std::to_string(length));
    }
  }

  std::string name_at(std::size_t index, const std::string& before) const {
    const std::optional<std::string> start = first_parts(before, shared_[index]);
    if (!start || shared_[index] < 0) {
      members_.fail("shared", "as many parts as the name before has",
                    std::to_string(shared_[index]));
    }
    return *start + tensors_[index];
  }

  std::vector<Gate> gates_of(const Kind& kind) {
    if (kind.gates >= std::ssize(gate_sets_)) {
      members_.fail("kinds", fmt::format("gates below {}", gate_sets_.size()),
                    std::to_string(kind.gates));
    }
    const GateSet& set = gate_sets_[static_cast<std::size_t>(kind.gates)];
    std::vector<Gate> gates;
    for (std::size_t index = 0; index < set.names.size(); ++index) {
      const bool zero = holds(set.zero, index);
      const double lhs = zero ? 0 : next_side();
      const double rhs = zero ? 0 : next_side();
      gates.push_back(make_gate(set.names[index], lhs, rhs, !holds(set.advisory, index)));
    }
    return gates;
  }

  double next_side() {
    if (next_side_ == sides_.size()) {
      members_.fail("sides", "two numbers for every gate", fmt::format("{} in all", sides_.size()));
    }
    return sides_[next_side_++];
  }

  JsonMembers& members_;
  std::vector<std::string> tensors_;
  std::vector<std::int64_t> shared_;
  std::vector<GateSet> gate_sets_;
  std::vector<Kind> kinds_;
  std::vector<std::int64_t> kind_of_;
  std::vector<double> sides_;
  std::size_t next_side_ = 0;
};

/// What one element of an evidence's `gates` says of the gate that it names.
void read_gate_evidence(const json& object, const std::string& source, const std::string& pointer,
                        std::vector<Gate>& gates) {
  JsonMembers members(object, source, pointer);
  const std::int64_t index = members.count("gate", std::ssize(gates) - 1);
  Gate& gate = gates[static_cast<std::size_t>(index)];
  check_decision(members, gate);
  gate.note = members.text("note");
  members.finish();
}

/// Adds what `object` says to the comparison that it names, and returns its index.
std::int64_t add_evidence(const json& object, const std::string& source, const std::string& pointer,
                          std::vector<Comparison>& comparisons) {
  JsonMembers members(object, source, pointer);
  const std::int64_t index = members.count("comparison", std::ssize(comparisons) - 1);
  Comparison& comparison = comparisons[static_cast<std::size_t>(index)];
  comparison.undecided = members.text("undecided");
  read_evidence(members, source, comparison);
  std::size_t place = 0;
  for (const json* gate : members.elements("gates")) {
    read_gate_evidence(*gate, source, fmt::format("{}/{}", members.pointer("gates"), place++),
                       comparison.gates);
  }
  members.finish();
  return index;
}

}  // namespace

Comparison comparison_before_13(const json& object, const std::string& source,
                                const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  Comparison comparison;
  comparison.tensor = members.text("tensor");
  comparison.dtype = members.named("dtype", core::dtype_from_string, "a dtype");
  comparison.shape = members.integers("shape");
  comparison.gates = members.items("gates", gate_before_13);
  if (object.contains("undecided")) {
    comparison.undecided = members.text("undecided");
  }
  read_evidence(members, source, comparison);
  members.finish();
  return comparison;
}

std::vector<Comparison> comparisons_from_json(const json& object, const std::string& source,
                                              const std::string& pointer) {
  JsonMembers members(object, source, pointer);
  std::vector<Comparison> comparisons = Columns(members).comparisons();
  std::vector<bool> explained(comparisons.size(), false);
  std::size_t place = 0;
  for (const json* each : members.elements("evidence")) {
    const std::int64_t index = add_evidence(
        *each, source, fmt::format("{}/{}", members.pointer("evidence"), place++), comparisons);
    if (explained[static_cast<std::size_t>(index)]) {
      members.fail("evidence", "every comparison once", fmt::format("{} twice", index));
    }
    explained[static_cast<std::size_t>(index)] = true;
  }
  for (std::size_t index = 0; index < comparisons.size(); ++index) {
    if (explained[index] == held_comfortably(comparisons[index])) {
      members.fail("evidence", "that of every comparison which did not hold comfortably, no other",
                   fmt::format("{} of comparison {}", explained[index] ? "some" : "none", index));
    }
  }
  members.finish();
  return comparisons;
}

}  // namespace sparity::judge
