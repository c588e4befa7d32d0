#pragma once

#include "suites/selftest/dump_edit.h"
#include "suites/selftest/program.h"
#include "suites/selftest/scratch_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace sparity::selftest {

/// A candidate in float32 with a truth and a baseline that follow its choices, made once.
class Compare : public testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();

  static std::filesystem::path made(const std::string& name) {
    return made_->path() / (name + ".safetensors");
  }
  static void run(const std::string& name, const std::string& more);

  /// One of the three files is tampered with; " --inputs … --model …" of the checkpoint are given.
  Finished compare(const std::string& role, const std::function<void(DumpEdit&)>& change,
                   const std::string& more = "") const;
  /// Of the three files by name, changed ones first looked for in this test's own folder.
  Finished compare_files(const std::string& flags) const;
  /// Writes this test's own version of a file.
  void change(const std::string& role, const std::function<void(DumpEdit&)>& how) const;

  void expect_refused(const std::string& role, const std::function<void(DumpEdit&)>& change,
                      const std::vector<std::string>& words, const std::string& more = "") const;

  ScratchFolder own_;

 private:
  static ScratchFolder* made_;
};

/// The flags that name the golden checkpoint and its inputs.
std::string golden_model();
std::string golden_inputs();

std::function<void(DumpEdit&)> says(const std::string& key, const std::string& value);
void untouched(DumpEdit& dump);

}  // namespace sparity::selftest
