#!/usr/bin/env bash
# Runs every suite under the arithmetics of other machines: MKL, ATen and oneDNN choose their kernels
# by processor, and add in another order on each. One factor at a time; what this processor lacks is
# a counted skip. An honest judge is green under all of them. Needs a build (ci/demo).
# Usage: ci/stages/machines.sh [--few]: with --few three arithmetics and the suites on `tiny` alone.
# Exit code 1 when a suite fails under any of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
program=build/cpu/sparity-suites
[ -x "$program" ] || { echo "machines: $program is missing: run ci/demo first" >&2; exit 5; }

few=0
case "${1:-}" in
  --few) few=1 ;;
  '') ;;
  *) echo "machines: expected --few or nothing, found '$1'" >&2; exit 5 ;;
esac

# Name, what the processor must have for it (a flag of /proc/cpuinfo, or - for nothing), setting.
arithmetics='
mkl-compatible   -        MKL_CBWR=COMPATIBLE
mkl-avx2         avx2     MKL_CBWR=AVX2
aten-default     -        ATEN_CPU_CAPABILITY=default
mkl-avx512       avx512f  MKL_CBWR=AVX512
aten-avx2        avx2     ATEN_CPU_CAPABILITY=avx2
aten-avx512      avx512f  ATEN_CPU_CAPABILITY=avx512
onednn-sse41     sse4_1   ONEDNN_MAX_CPU_ISA=SSE41
onednn-avx2      avx2     ONEDNN_MAX_CPU_ISA=AVX2
onednn-amx       amx_bf16 ONEDNN_MAX_CPU_ISA=AVX512_CORE_AMX
two-threads      -        OMP_NUM_THREADS=2
'

logs=build/machines
rm -rf "$logs"
mkdir -p "$logs"
processors=$(nproc)  # before OMP_NUM_THREADS, which it would count
export program logs

# run_suite ARITHMETIC SUITE DTYPE OPTION…: leaves its output behind only when it fails.
run_suite() {
  local log
  log=$logs/$(printf '%s.' "$@" | tr -c 'a-zA-Z0-9.\n' _)log
  shift
  local suite=$1 dtype=$2
  shift 2
  if "$program" --suite "$suite" --dtype "$dtype" "$@" >"$log" 2>&1; then
    rm "$log"
  fi
}
export -f run_suite

# Every line of work under one arithmetic.
work() {
  local suite dtype config
  for suite in $("$program" --list); do
    for dtype in float32 bfloat16; do
      printf '%s\0' "run_suite $1 $suite $dtype"
    done
  done
  [ "$few" = 1 ] && return
  for config in fixtures/configs/odd/one-layer.json fixtures/configs/odd/one-key.json; do
    for suite in indexer_loss training stages lora; do
      printf '%s\0' "run_suite $1 $suite float32 --config $config"
      printf '%s\0' "run_suite $1 $suite float32 --config $config --calibrate 1 --lengths 1,2"
    done
  done
}

red=0 skipped=0 ran=0
while read -r name flag setting; do
  [ -n "$name" ] || continue
  [ "$few" = 1 ] && [ "$ran" -eq 3 ] && break
  if [ "$flag" != - ] && ! grep -qw "$flag" /proc/cpuinfo; then
    echo "machines: $name skipped: this processor has no $flag"
    skipped=$((skipped + 1))
    continue
  fi
  start=$SECONDS
  work "$name" | env OMP_NUM_THREADS=1 "$setting" xargs -0 -n 1 -P "$processors" bash -euc 'eval "$0"'
  ran=$((ran + 1))
  failed=$(find "$logs" -name "$name.*" | wc -l)
  echo "machines: $name ($setting): $failed suites failed, $((SECONDS - start)) s"
  for log in "$logs/$name".*; do
    [ -e "$log" ] || continue
    red=$((red + 1))
    echo "  $log"
    grep -E '^(fail|harness_fault|crash)' "$log" | head -3 | sed 's/^/    /' || true
  done
done <<<"$arithmetics"
echo "machines: $ran arithmetics ran, $skipped were skipped, $red suites failed"
[ "$red" -eq 0 ]
