#pragma once

#include "src/core/profile_scope.h"

#include <ATen/record_function.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace sparity::bench {

/// Seconds that one operation took of one pass.
struct OpSeconds {
  std::string op;
  double forward = 0;
  double backward = 0;
};

/// Puts the wall time of whatever runs on the thread that made it down to operations, for as long
/// as it lives: forward by the model's profile scopes; backward by autograd's nodes, each of which
/// belongs to the operation that was running when it was recorded. An operation's own time is its
/// alone, without those inside it. Time outside of every scope and node is "other"; adding up the
/// parameters' gradients, which no operation records, is "gradient sums". One at a time.
class OpProfile final : public core::ProfileSink {
 public:
  OpProfile();
  ~OpProfile() override;
  OpProfile(const OpProfile&) = delete;
  OpProfile& operator=(const OpProfile&) = delete;

  void enter(std::string_view op) override;
  void leave() override;

  /// In the order in which they first ran; ends what runs outside of every operation.
  std::vector<OpSeconds> seconds();

 private:
  using Clock = std::chrono::steady_clock;

  /// What runs: an operation, on its way forward or back.
  struct Activity {
    std::size_t op;
    bool backward;
  };
  /// From this node on, by the order in which autograd records them, `op` was running.
  struct Turn {
    std::uint64_t node;
    std::size_t op;
  };
  struct BackwardNode;

  std::size_t number_of(std::string_view op);
  std::size_t op_of(std::int64_t node) const;
  void start(Activity activity);
  void stop();
  void charge();
  void note_turn();

  std::vector<OpSeconds> ops_;
  std::vector<Activity> running_;
  std::vector<Turn> turns_;
  Clock::time_point since_;
  at::CallbackHandle callback_;
};

}  // namespace sparity::bench
