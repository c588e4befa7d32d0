#include "src/core/fault.h"
#include "suites/cases/embedded_configs.h"
#include "suites/cli/build_info.h"
#include "suites/cli/command.h"
#include "suites/cli/provenance.h"
#include "suites/cli/suite_program.h"

#include <ATen/Config.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <torch/version.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/sysinfo.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace sparity::cli {

namespace {

struct Finding {
  std::string subject;
  bool ok = true;
  std::string detail;
};

Finding suite_program_finding() {
  const std::filesystem::path path = suite_program();
  return {"suites", access(path.c_str(), X_OK) == 0, path.string()};
}

Finding cuda_finding() {
  const bool device = std::filesystem::exists("/dev/nvidia0");
  return {"cuda", true,
          std::string(device ? "a device is there" : "no device") +
              "; this build runs on the CPU only"};
}

/// Which kernels the math libraries choose here, and by whom they were told: the order of sums, and
/// so the last bits, depend on it (ci/stages/machines.sh runs the suites under others).
Finding arithmetic_finding() {
  std::string detail = "ATen " + at::get_cpu_capability();
  for (const char* variable : {"MKL_CBWR", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"}) {
    if (const char* value = std::getenv(variable)) {
      detail += std::string(", ") + variable + "=" + value;
    }
  }
  return {"arithmetic", true, detail};
}

std::vector<Finding> examine() {
  struct sysinfo memory {};
  sysinfo(&memory);
  const double gibibytes =
      static_cast<double>(memory.totalram) * memory.mem_unit / (1024.0 * 1024.0 * 1024.0);
  return {
      {"sparity", true, std::string(kVersion)},
      {"libtorch", true, TORCH_VERSION},
      {"processor", true,
       fmt::format("{}, {} threads", processor_name(), std::thread::hardware_concurrency())},
      arithmetic_finding(),
      {"memory", true, fmt::format("{:.1f} GiB", gibibytes)},
      {"threads", true, fmt::format("{} (OpenMP)", at::get_num_threads())},
      {"planted faults", true,
       core::fault_register().empty() ? "not in this build"
                                      : fmt::format("{}", core::fault_register().size())},
      {"embedded configs", !cases::embedded_configs().empty(),
       fmt::format("{}", cases::embedded_configs().size())},
      suite_program_finding(),
      cuda_finding(),
  };
}

}  // namespace

void add_doctor(CLI::App& app, Action& action) {
  const auto json = std::make_shared<bool>(false);
  CLI::App& command = *app.add_subcommand("doctor", "What this machine and this build can run");
  command.add_flag("--json", *json, "Print as JSON");
  command.footer(example("sparity doctor"));
  command.callback([json, &action] {
    action = [json] {
      auto code = core::ExitCode::kPass;
      nlohmann::json document = nlohmann::json::array();
      for (const Finding& finding : examine()) {
        code = finding.ok ? code : core::ExitCode::kHarnessFault;
        document.push_back(
            {{"subject", finding.subject}, {"ok", finding.ok}, {"detail", finding.detail}});
        if (!*json) {
          fmt::print("{:<17}{} {}\n", finding.subject, finding.ok ? "ok " : "BAD", finding.detail);
        }
      }
      if (*json) {
        fmt::print("{}\n", document.dump(2));
      }
      return code;
    };
  });
}

}  // namespace sparity::cli
