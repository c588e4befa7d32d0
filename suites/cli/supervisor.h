#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sparity::cli {

/// One program to run, in its own process group, its output going to files.
struct Job {
  std::string name;                    // for progress lines and log names: "norm.float32"
  std::vector<std::string> arguments;  // the program first
};

/// How a job ended.
struct JobOutcome {
  int exit_code = 0;  // meaningful when signal_number is 0
  int signal_number = 0;
  bool timed_out = false;
  bool interrupted = false;  // killed because the user asked to stop
  double seconds = 0;
  std::string error_tail;  // the last bytes of its stderr
};

/// Runs jobs, at most `parallel` at a time; each that outlives `limit` has its process group
/// killed. A job that crashes, hangs or can't be started never ends the others. On SIGINT or
/// SIGTERM every job's group is killed and `interrupted` tells.
class Supervisor {
 public:
  Supervisor(std::filesystem::path log_folder, int parallel, std::chrono::seconds limit);

  /// `finished(index, outcome)` is called once for each job, in order of ending; `progress(running
  /// names, done)` about once a second.
  void run(const std::vector<Job>& jobs,
           const std::function<void(std::size_t, const JobOutcome&)>& finished,
           const std::function<void(const std::vector<std::string>&, std::size_t)>& progress);

  bool interrupted() const;

 private:
  struct Running {
    std::size_t job = 0;
    pid_t process = 0;
    std::chrono::steady_clock::time_point started;
    bool killed_for_time = false;
    bool killed_for_interrupt = false;
  };

  Running start(std::size_t index, const Job& job) const;
  void kill_late(Running& running) const;
  JobOutcome outcome_of(const Running& running, const Job& job, int status) const;
  std::filesystem::path log_of(const Job& job, const char* stream) const;

  std::filesystem::path log_folder_;
  int parallel_;
  std::chrono::seconds limit_;
};

}  // namespace sparity::cli
