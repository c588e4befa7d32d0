# sparity_embed_configs(OUT FILES…) writes a source file that holds each JSON file's text under its name.
function(sparity_embed_configs out)
  set(entries "")
  foreach(path IN LISTS ARGN)
    get_filename_component(name "${path}" NAME_WE)
    file(READ "${path}" text)
    string(APPEND entries "    EmbeddedConfig{\"${name}\", R\"json(${text})json\"},\n")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${path}")
  endforeach()
  file(CONFIGURE OUTPUT "${out}" @ONLY CONTENT
"// Generated from fixtures/configs.
#include \"suites/cases/embedded_configs.h\"

#include <array>

namespace sparity::cases {

namespace {

constexpr std::array kConfigs = {
${entries}};

}  // namespace

std::span<const EmbeddedConfig> embedded_configs() { return kConfigs; }

std::optional<EmbeddedConfig> find_embedded_config(std::string_view name) {
  for (const EmbeddedConfig& config : kConfigs) {
    if (config.name == name) {
      return config;
    }
  }
  return std::nullopt;
}

}  // namespace sparity::cases
")
endfunction()

# sparity_embed_text(OUT FILE HEADER NAMESPACE FUNCTION) writes a source file whose FUNCTION, declared in HEADER, returns
# the text of FILE.
function(sparity_embed_text out path header namespace function)
  file(READ "${path}" text)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${path}")
  file(CONFIGURE OUTPUT "${out}" @ONLY CONTENT
"// Generated from a fixture.
#include \"${header}\"

namespace ${namespace} {

std::string_view ${function}() {
  return R\"text(${text})text\";
}

}  // namespace ${namespace}
")
endfunction()
