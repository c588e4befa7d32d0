#pragma once

#include <atomic>
#include <string_view>

namespace sparity::core {

/// Is told which operation of the model runs.
class ProfileSink {
 public:
  virtual ~ProfileSink() = default;

  /// What the calling thread does from now on belongs to `op`, until `leave`. Calls nest: an inner
  /// operation's time is not the outer one's.
  virtual void enter(std::string_view op) = 0;
  virtual void leave() = 0;
};

/// Who is told. Null unless somebody profiles. Set it while no scope is open.
inline std::atomic<ProfileSink*> profile_sink = nullptr;

/// An operation, for as long as it lives. Belongs outside of parallel regions, whose time is that
/// of the thread that waits for them. Without a sink it costs one pointer test.
class ProfileScope {
 public:
  explicit ProfileScope(std::string_view op) : sink_(profile_sink.load(std::memory_order_relaxed)) {
    if (sink_ != nullptr) {
      sink_->enter(op);
    }
  }
  ~ProfileScope() {
    if (sink_ != nullptr) {
      sink_->leave();
    }
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  ProfileSink* sink_;
};

/// What `work` returns, run as the operation `op`.
template <typename Work>
auto profiled(std::string_view op, Work work) {
  const ProfileScope scope(op);
  return work();
}

}  // namespace sparity::core
