# The one home of compiler flags: linked PRIVATE by every target of ours.
add_library(sparity_build_flags INTERFACE)
target_compile_features(sparity_build_flags INTERFACE cxx_std_20)
target_compile_options(sparity_build_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow)
# Source positions in messages are written from the repository root, whatever machine compiled them.
target_compile_options(sparity_build_flags INTERFACE -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
target_link_libraries(sparity_build_flags INTERFACE ext::fmt)
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

# Headers that many files parse, once for all of them: half the time of such a file. sparity_precompile(name
# LIBRARIES … HEADERS …) makes one set of them.
function(sparity_precompile name)
  if(NOT SPARITY_PRECOMPILE)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "LIBRARIES;HEADERS" ${ARGN})
  file(WRITE ${PROJECT_BINARY_DIR}/precompiled/none.cc "")
  add_library(sparity_precompiled_${name} OBJECT ${PROJECT_BINARY_DIR}/precompiled/none.cc)
  target_link_libraries(sparity_precompiled_${name} PRIVATE ${ARG_LIBRARIES} sparity_build_flags)
  target_precompile_headers(sparity_precompiled_${name} PRIVATE
    ${ARG_HEADERS} <fmt/format.h> <algorithm> <functional> <map> <string> <vector>)
endfunction()

set(tensor_headers <ATen/core/Tensor.h> <ATen/ops/empty.h>)
sparity_precompile(plain LIBRARIES nlohmann_json::nlohmann_json HEADERS <nlohmann/json.hpp>)
sparity_precompile(tensors LIBRARIES ext::torch_cpu HEADERS ${tensor_headers})
sparity_precompile(tests LIBRARIES GTest::gmock HEADERS <gmock/gmock.h> <gtest/gtest.h>)
sparity_precompile(tensor_tests
  LIBRARIES ext::torch_cpu GTest::gmock HEADERS ${tensor_headers} <gmock/gmock.h> <gtest/gtest.h>)

# Sets `result` when `target`, or what it links to, links LibTorch.
function(sparity_reaches_torch target result)
  if(target STREQUAL ext::torch_cpu)
    set(${result} TRUE PARENT_SCOPE)
    return()
  endif()
  set(${result} FALSE PARENT_SCOPE)
  if(TARGET ${target})
    get_target_property(libraries ${target} INTERFACE_LINK_LIBRARIES)
    foreach(library IN LISTS libraries)
      sparity_reaches_torch(${library} found)
      if(found)
        set(${result} TRUE PARENT_SCOPE)
        return()
      endif()
    endforeach()
  endif()
endfunction()

# sparity_build(target [TENSORS set] [PLAIN set] DEPS …) compiles a target of ours as all are compiled, with the first
# set of precompiled headers where it links LibTorch ("tensors" unless given), with the second where it does not
# ("plain" unless given).
function(sparity_build target)
  cmake_parse_arguments(ARG "" "TENSORS;PLAIN" "DEPS" ${ARGN})
  target_link_libraries(${target} PRIVATE sparity_build_flags)
  set(headers plain ${ARG_PLAIN})
  foreach(library IN LISTS ARG_DEPS)
    sparity_reaches_torch(${library} torch)
    if(torch)
      set(headers tensors ${ARG_TENSORS})
    endif()
  endforeach()
  if(SPARITY_PRECOMPILE)
    list(GET headers -1 last_named)
    target_precompile_headers(${target} REUSE_FROM sparity_precompiled_${last_named})
  endif()
endfunction()

# sparity_add_library(room SOURCES … [HEADERS …] [DEPS …]) makes target sparity_<room>, alias
# sparity::<room>. Includes are written from the repository root.
function(sparity_add_library room)
  cmake_parse_arguments(ARG "" "" "SOURCES;HEADERS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(sparity_${room} STATIC ${ARG_SOURCES})
  add_library(sparity::${room} ALIAS sparity_${room})
  target_sources(sparity_${room} PUBLIC
    FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${ARG_HEADERS})
  target_link_libraries(sparity_${room} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  sparity_build(sparity_${room} DEPS ${ARG_DEPS} ${ARG_PRIVATE_DEPS})
endfunction()

# sparity_add_program(name SOURCES … DEPS …) puts the program into the build folder's top. What it has of its own
# reads, prints and starts suites: optimising that further would take longer to compile than it saves.
function(sparity_add_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  target_compile_options(${name} PRIVATE -O1)
  sparity_build(${name} DEPS ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endfunction()
