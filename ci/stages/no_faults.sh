#!/usr/bin/env bash
# Fails when a program contains a symbol of the planted faults, or none at all (a stripped one proves nothing).
set -euo pipefail
for program in "$@"; do
  symbols=$(nm -C "$program" | wc -l)
  [ "$symbols" -gt 0 ] || { echo "no faults: $program has no symbols to look at" >&2; exit 1; }
  if nm -C "$program" | grep -q sparity_fault; then
    echo "no faults: $program contains planted faults" >&2
    exit 1
  fi
  echo "no faults: $program: ok ($symbols symbols)"
done
