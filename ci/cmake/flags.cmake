# The one home of compiler flags: linked PRIVATE by every target of ours.
add_library(sparity_build_flags INTERFACE)
target_compile_features(sparity_build_flags INTERFACE cxx_std_20)
target_compile_options(sparity_build_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow)
target_compile_definitions(sparity_build_flags INTERFACE FMT_HEADER_ONLY=1)
if(SPARITY_WARNINGS_AS_ERRORS)
  target_compile_options(sparity_build_flags INTERFACE -Werror)
endif()
if(SPARITY_FAULTS)
  target_compile_definitions(sparity_build_flags INTERFACE SPARITY_FAULTS=1)
endif()
if(SPARITY_SANITIZE)
  target_compile_options(sparity_build_flags INTERFACE
    -fsanitize=${SPARITY_SANITIZE} -fno-sanitize=vptr -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(sparity_build_flags INTERFACE -fsanitize=${SPARITY_SANITIZE})
endif()

# No contraction of a*b+c: what reads like two roundings is two roundings.
add_library(sparity_exact_flags INTERFACE)
target_compile_options(sparity_exact_flags INTERFACE -ffp-contract=off)

# sparity_add_library(room SOURCES … [HEADERS …] [DEPS …]) makes target sparity_<room>, alias
# sparity::<room>. Includes are written from the repository root.
function(sparity_add_library room)
  cmake_parse_arguments(ARG "" "" "SOURCES;HEADERS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(sparity_${room} STATIC ${ARG_SOURCES})
  add_library(sparity::${room} ALIAS sparity_${room})
  target_sources(sparity_${room} PUBLIC
    FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${ARG_HEADERS})
  target_link_libraries(sparity_${room} PUBLIC ${ARG_DEPS}
    PRIVATE sparity_build_flags ${ARG_PRIVATE_DEPS})
endfunction()

# sparity_add_program(name SOURCES … DEPS …) puts the program into the build folder's top.
function(sparity_add_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} sparity_build_flags)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endfunction()
