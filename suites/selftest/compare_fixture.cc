#include "suites/selftest/compare_fixture.h"

#include <gmock/gmock.h>

namespace sparity::selftest {

namespace fs = std::filesystem;

ScratchFolder* Compare::made_ = nullptr;

std::string golden_model() { return " --model " + quoted(kGolden); }
std::string golden_inputs() { return " --inputs " + quoted(kGolden / "inputs.safetensors"); }

void Compare::SetUpTestSuite() {
  made_ = new ScratchFolder();
  run("candidate", "--grads --trace '*'");
  const std::string follow = "--grads --impl reference --trace '*' --force " +
                             quoted(made("candidate")) + " --force-names '*topk_indices' ";
  run("truth", follow + "--dtype float64");
  run("baseline", follow + "--dtype float32");
}

void Compare::TearDownTestSuite() {
  delete made_;
  made_ = nullptr;
}

void Compare::run(const std::string& name, const std::string& more) {
  const Finished done = run_sparity("run" + golden_model() + golden_inputs() + " --out " +
                                    quoted(made(name)) + " " + more);
  ASSERT_EQ(done.exit_code, 0) << done.err;
}

void Compare::change(const std::string& role, const std::function<void(DumpEdit&)>& how) const {
  const fs::path own = own_.path() / (role + ".safetensors");
  edit(fs::exists(own) ? own : made(role), own, how);
}

Finished Compare::compare_files(const std::string& flags) const {
  const auto file = [&](const std::string& name) {
    const fs::path own = own_.path() / (name + ".safetensors");
    return quoted(fs::exists(own) ? own : made(name));
  };
  return run_sparity("compare " + file("candidate") + " --truth " + file("truth") + " --baseline " +
                     file("baseline") + flags);
}

Finished Compare::compare(const std::string& role, const std::function<void(DumpEdit&)>& how,
                          const std::string& more) const {
  fs::remove(own_.path() / (role + ".safetensors"));
  change(role, how);
  const Finished done = compare_files(golden_inputs() + golden_model() + " " + more);
  fs::remove(own_.path() / (role + ".safetensors"));
  return done;
}

void Compare::expect_refused(const std::string& role, const std::function<void(DumpEdit&)>& how,
                             const std::vector<std::string>& words, const std::string& more) const {
  const Finished done = compare(role, how, more);
  EXPECT_EQ(done.exit_code, 5) << done.out << done.err;
  EXPECT_THAT(done.err, testing::HasSubstr(role + ".safetensors"));
  for (const std::string& word : words) {
    EXPECT_THAT(done.err, testing::HasSubstr(word));
  }
}

std::function<void(DumpEdit&)> says(const std::string& key, const std::string& value) {
  return [=](DumpEdit& dump) { dump.metadata[key] = value; };
}

void untouched(DumpEdit&) {}

}  // namespace sparity::selftest
