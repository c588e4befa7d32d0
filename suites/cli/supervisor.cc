#include "suites/cli/supervisor.h"

#include "src/core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace sparity::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::streamoff kTailBytes = 4000;
constexpr auto kPollInterval = std::chrono::milliseconds(20);

volatile sig_atomic_t g_interrupted = 0;

void note_interrupt(int) { g_interrupted = 1; }

/// Catches SIGINT and SIGTERM for as long as it lives.
class InterruptGuard {
 public:
  InterruptGuard() {
    g_interrupted = 0;
    struct sigaction action {};
    action.sa_handler = note_interrupt;
    sigaction(SIGINT, &action, &previous_interrupt_);
    sigaction(SIGTERM, &action, &previous_terminate_);
  }
  ~InterruptGuard() {
    sigaction(SIGINT, &previous_interrupt_, nullptr);
    sigaction(SIGTERM, &previous_terminate_, nullptr);
  }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction previous_interrupt_ {};
  struct sigaction previous_terminate_ {};
};

std::string tail_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) {
    return {};
  }
  const std::streamoff size = file.tellg();
  file.seekg(std::max<std::streamoff>(0, size - kTailBytes));
  return {std::istreambuf_iterator<char>(file), {}};
}

/// In the child, after fork: only async-signal-safe calls until exec.
[[noreturn]] void become(char* const* arguments, const char* out, const char* err) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody outlives a supervisor that was killed
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  const int out_file = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const int err_file = open(err, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const int in_file = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (out_file >= 0 && err_file >= 0 && in_file >= 0) {
    dup2(in_file, STDIN_FILENO);
    dup2(out_file, STDOUT_FILENO);
    dup2(err_file, STDERR_FILENO);
    execv(arguments[0], arguments);
  }
  _exit(126);
}

}  // namespace

Supervisor::Supervisor(std::filesystem::path log_folder, int parallel, std::chrono::seconds limit)
    : log_folder_(std::move(log_folder)), parallel_(parallel), limit_(limit) {
  std::filesystem::create_directories(log_folder_);
}

bool Supervisor::interrupted() const { return g_interrupted != 0; }

std::filesystem::path Supervisor::log_of(const Job& job, const char* stream) const {
  return log_folder_ / fmt::format("{}.{}", job.name, stream);
}

Supervisor::Running Supervisor::start(std::size_t index, const Job& job) const {
  std::vector<std::string> arguments = job.arguments;
  std::vector<char*> pointers;
  for (std::string& argument : arguments) {
    pointers.push_back(argument.data());
  }
  pointers.push_back(nullptr);
  const std::string out = log_of(job, "out");
  const std::string err = log_of(job, "err");
  const pid_t process = fork();
  SPARITY_CHECK(process >= 0, fmt::format("cannot start a process: {}", std::strerror(errno)));
  if (process == 0) {
    become(pointers.data(), out.c_str(), err.c_str());
  }
  setpgid(process, process);  // the child does it too: whoever is first
  return {.job = index, .process = process, .started = Clock::now()};
}

void Supervisor::kill_late(Running& running) const {
  const bool late = Clock::now() - running.started > limit_;
  if ((late || interrupted()) && !running.killed_for_time) {
    running.killed_for_time = late;
    running.killed_for_interrupt = !late;
    kill(-running.process, SIGKILL);
  }
}

JobOutcome Supervisor::outcome_of(const Running& running, const Job& job, int status) const {
  JobOutcome outcome;
  outcome.seconds = std::chrono::duration<double>(Clock::now() - running.started).count();
  outcome.timed_out = running.killed_for_time;
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  outcome.signal_number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  outcome.interrupted = running.killed_for_interrupt && outcome.signal_number == SIGKILL;
  outcome.error_tail = tail_of(log_of(job, "err"));
  return outcome;
}

void Supervisor::run(
    const std::vector<Job>& jobs,
    const std::function<void(std::size_t, const JobOutcome&)>& finished,
    const std::function<void(const std::vector<std::string>&, std::size_t)>& progress) {
  const InterruptGuard guard;
  std::vector<Running> running;
  std::size_t next = 0;
  std::size_t done = 0;
  Clock::time_point shown = Clock::now();
  while (next < jobs.size() || !running.empty()) {
    while (!interrupted() && next < jobs.size() &&
           running.size() < static_cast<std::size_t>(parallel_)) {
      running.push_back(start(next, jobs[next]));
      ++next;
    }
    if (interrupted() && running.empty()) {
      return;
    }
    for (std::size_t i = 0; i < running.size();) {
      kill_late(running[i]);
      int status = 0;
      if (waitpid(running[i].process, &status, WNOHANG) != running[i].process) {
        ++i;
        continue;
      }
      kill(-running[i].process, SIGKILL);  // whatever it left behind
      const Running ended = running[i];
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
      ++done;
      finished(ended.job, outcome_of(ended, jobs[ended.job], status));
    }
    if (Clock::now() - shown > std::chrono::seconds(1)) {
      shown = Clock::now();
      std::vector<std::string> names;
      for (const Running& process : running) {
        names.push_back(jobs[process.job].name);
      }
      progress(names, done);
    }
    std::this_thread::sleep_for(kPollInterval);
  }
}

}  // namespace sparity::cli
