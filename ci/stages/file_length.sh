#!/usr/bin/env bash
# Files are for reading: warns past 350 lines, fails past 600.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
failed=0
while read -r lines path; do
  if [ "$lines" -gt 600 ]; then
    echo "file length: $path has $lines lines, at most 600 are allowed" >&2
    failed=1
  elif [ "$lines" -gt 350 ]; then
    echo "file length: warning: $path has $lines lines, more than 350"
  fi
done < <(git ls-files -z -- '*.h' '*.cc' '*.cu' '*.cuh' '*.py' '*.sh' '*.cmake' |
  xargs -0 -r wc -l | awk '$2 != "total" {print $1, $2}')
[ "$failed" -eq 0 ] && echo "file length: ok"
