#include "suites/selftest/dump_edit.h"

#include "src/core/safetensors.h"

namespace sparity::selftest {

DumpEdit::DumpEdit(const std::filesystem::path& path) {
  const core::SafetensorsFile file(path);
  metadata = file.metadata();
  for (const auto& [name, entry] : file.tensors()) {
    tensors.emplace(name, Stored{entry.dtype, entry.shape, file.read(name)});
  }
}

void DumpEdit::write(const std::filesystem::path& path) const {
  std::vector<core::TensorBytes> all;
  for (const auto& [name, tensor] : tensors) {
    all.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
  }
  core::write_safetensors(path, std::move(all), metadata);
}

void edit(const std::filesystem::path& from, const std::filesystem::path& to,
          const std::function<void(DumpEdit&)>& change) {
  DumpEdit file(from);
  change(file);
  file.write(to);
}

}  // namespace sparity::selftest
