#include "suites/bench/op_profile.h"

#include "src/core/error.h"

#include <ATen/SequenceNumber.h>

#include <algorithm>
#include <memory>

namespace sparity::bench {

namespace {

constexpr std::string_view kOther = "other";
constexpr std::string_view kGradientSums = "gradient sums";

}  // namespace

/// Autograd's evaluation of one node. The callback carries no state but the sink's.
struct OpProfile::BackwardNode {
  static OpProfile& profile() { return static_cast<OpProfile&>(*core::profile_sink.load()); }

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& node) {
    profile().start({profile().op_of(node.seqNr()), true});
    return nullptr;
  }
  static void end(const at::RecordFunction&, at::ObserverContext*) { profile().stop(); }
};

OpProfile::OpProfile()
    : ops_{{std::string(kOther)}, {std::string(kGradientSums)}},
      running_{{0, false}},
      since_(Clock::now()),
      callback_(at::addThreadLocalCallback(
          at::RecordFunctionCallback(&BackwardNode::begin, &BackwardNode::end)
              .scopes({at::RecordScope::BACKWARD_FUNCTION}))) {
  SPARITY_CHECK(core::profile_sink.exchange(this) == nullptr, "two profiles at a time");
  note_turn();
}

OpProfile::~OpProfile() {
  at::removeCallback(callback_);
  core::profile_sink = nullptr;
}

std::size_t OpProfile::number_of(std::string_view op) {
  const auto found = std::ranges::find(ops_, op, &OpSeconds::op);
  if (found != ops_.end()) {
    return static_cast<std::size_t>(found - ops_.begin());
  }
  ops_.push_back({std::string(op)});
  return ops_.size() - 1;
}

std::size_t OpProfile::op_of(std::int64_t node) const {
  // Leaves are recorded by nobody: their number is the largest there is.
  if (node < 0) {
    return 1;
  }
  const auto after =
      std::ranges::upper_bound(turns_, static_cast<std::uint64_t>(node), {}, &Turn::node);
  return after == turns_.begin() ? 0 : std::prev(after)->op;
}

void OpProfile::charge() {
  const Clock::time_point now = Clock::now();
  const Activity& activity = running_.back();
  OpSeconds& op = ops_[activity.op];
  (activity.backward ? op.backward : op.forward) +=
      std::chrono::duration<double>(now - since_).count();
  since_ = now;
}

void OpProfile::note_turn() {
  const std::uint64_t node = at::sequence_number::peek();
  if (!turns_.empty() && turns_.back().node == node) {
    turns_.back().op = running_.back().op;
  } else {
    turns_.push_back({node, running_.back().op});
  }
}

void OpProfile::start(Activity activity) {
  charge();
  running_.push_back(activity);
  note_turn();
}

void OpProfile::stop() {
  charge();
  running_.pop_back();
  note_turn();
}

void OpProfile::enter(std::string_view op) { start({number_of(op), false}); }

void OpProfile::leave() { stop(); }

std::vector<OpSeconds> OpProfile::seconds() {
  charge();
  return ops_;
}

}  // namespace sparity::bench
