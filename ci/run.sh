#!/usr/bin/env bash
# Continuous integration: every stage, on a clean checkout. Prints how long each took.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stage() {
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@"
  printf '== %s: %d s\n' "$name" $((SECONDS - start))
}

release_build() {
  cmake --preset release ${SPARITY_LIBTORCH:+-DSPARITY_LIBTORCH="$SPARITY_LIBTORCH"} >/dev/null
  cmake --build --preset release --target sparity sparity-suites
  ci/stages/no_faults.sh build/release/sparity build/release/sparity-suites
}

sanitized_tests() {
  cmake --preset asan ${SPARITY_LIBTORCH:+-DSPARITY_LIBTORCH="$SPARITY_LIBTORCH"} >/dev/null
  cmake --build --preset asan --target asan_tests
  ctest --preset asan
}

stage setup ci/setup
stage format ci/stages/format.sh
stage layering ci/stages/layering.sh
stage "file length" ci/stages/file_length.sh
stage coverage ci/stages/coverage.sh
stage release release_build
stage sanitizers sanitized_tests
stage test ci/test
stage machines ci/stages/machines.sh --few
