# The one home of compiler flags: linked PRIVATE by every target of ours.
add_library(sparity_build_flags INTERFACE)
target_compile_features(sparity_build_flags INTERFACE cxx_std_20)
target_compile_options(sparity_build_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow)
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

# Headers that every file with tensors parses, once for all of them: half the time of such a file.
if(SPARITY_PRECOMPILE)
  file(WRITE ${PROJECT_BINARY_DIR}/precompiled/none.cc "")
  add_library(sparity_precompiled OBJECT ${PROJECT_BINARY_DIR}/precompiled/none.cc)
  target_link_libraries(sparity_precompiled PRIVATE ext::torch_cpu sparity_build_flags)
  target_precompile_headers(sparity_precompiled PRIVATE
    <ATen/core/Tensor.h> <ATen/ops/empty.h> <fmt/format.h> <algorithm> <functional> <map> <string>
    <vector>)
endif()

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

# sparity_build(target deps…) compiles a target of ours as all are compiled.
function(sparity_build target)
  target_link_libraries(${target} PRIVATE sparity_build_flags)
  foreach(library IN LISTS ARGN)
    sparity_reaches_torch(${library} torch)
    if(torch AND SPARITY_PRECOMPILE)
      target_precompile_headers(${target} REUSE_FROM sparity_precompiled)
      break()
    endif()
  endforeach()
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
  sparity_build(sparity_${room} ${ARG_DEPS} ${ARG_PRIVATE_DEPS})
endfunction()

# sparity_add_program(name SOURCES … DEPS …) puts the program into the build folder's top.
function(sparity_add_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  sparity_build(${name} ${ARG_DEPS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endfunction()
