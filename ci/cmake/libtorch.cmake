# LibTorch as two IMPORTED targets, ext::c10 and ext::torch_cpu, from the folder that holds `lib` and
# `include`. find_package(Torch) is not used: it demands a CUDA toolkit that matches the wheel and links
# libtorch_cuda (docs/adr/0002).
set(SPARITY_LIBTORCH "" CACHE PATH "LibTorch 2.11 folder (holds lib/ and include/)")
if(NOT SPARITY_LIBTORCH)
  set(cache_root "$ENV{SPARITY_CACHE}")
  if(NOT cache_root)
    set(cache_root "$ENV{XDG_CACHE_HOME}/sparity")
    if("$ENV{XDG_CACHE_HOME}" STREQUAL "")
      set(cache_root "$ENV{HOME}/.cache/sparity")
    endif()
  endif()
  set(libtorch_dir "${cache_root}/libtorch-2.11.0/torch")
else()
  set(libtorch_dir "${SPARITY_LIBTORCH}")
endif()
if(NOT EXISTS "${libtorch_dir}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch not found in ${libtorch_dir}. Run ci/setup, or pass "
    "-DSPARITY_LIBTORCH=DIR where DIR/lib/libtorch_cpu.so exists.")
endif()
message(STATUS "LibTorch: ${libtorch_dir}")

find_package(Threads REQUIRED)

add_library(ext::c10 SHARED IMPORTED GLOBAL)
set_target_properties(ext::c10 PROPERTIES
  IMPORTED_LOCATION "${libtorch_dir}/lib/libc10.so"
  INTERFACE_LINK_LIBRARIES ext::fmt  # before the wheel's own fmt
  INTERFACE_INCLUDE_DIRECTORIES
    "${fmt_folder};${libtorch_dir}/include;${libtorch_dir}/include/torch/csrc/api/include")
add_library(ext::torch_cpu SHARED IMPORTED GLOBAL)
set_target_properties(ext::torch_cpu PROPERTIES
  IMPORTED_LOCATION "${libtorch_dir}/lib/libtorch_cpu.so"
  INTERFACE_LINK_LIBRARIES "ext::c10;Threads::Threads"
  # As a flag, so that the program loads the libgomp which LibTorch brings, not a second one.
  INTERFACE_COMPILE_OPTIONS "-fopenmp"
  INTERFACE_LINK_OPTIONS "-fopenmp"
  # The class layouts of the wheel's distributed headers depend on the first four. The last one keeps
  # core headers from bringing in every operator: half the seconds of a translation unit.
  INTERFACE_COMPILE_DEFINITIONS
    "USE_DISTRIBUTED;USE_C10D_GLOO;USE_RPC;USE_TENSORPIPE;AT_PER_OPERATOR_HEADERS")
# libtorch_cpu needs libcupti and libcudart of CUDA 13, found through its own run path at run time.
set(SPARITY_TORCH_LINK_OPTIONS "-Wl,--allow-shlib-undefined")
target_link_options(ext::torch_cpu INTERFACE ${SPARITY_TORCH_LINK_OPTIONS})
set(CMAKE_BUILD_RPATH "${libtorch_dir}/lib")
