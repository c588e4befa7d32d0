#!/usr/bin/env bash
# Who may include whom. Each row: a room, then the rooms whose headers it may include besides its own.
# Rooms whose rows end in "no-torch" may not include ATen, c10 or torch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

table='
src/core            : no-torch
src/tensors         : src/core
src/ops             : src/core src/tensors kernels
src/model           : src/core src/tensors src/ops
src/train           : src/core src/tensors src/ops src/model
src/lora            : src/core src/tensors src/ops src/model
src/zero            : src/core src/tensors src/ops src/model
src/decode          : src/core src/tensors src/ops src/model
reference/scalar    : no-torch
reference/model     : src/core src/tensors reference/scalar
reference/train     : src/core src/tensors reference/scalar reference/model
kernels             : no-torch
suites/judge        : src/core no-torch
reports             : src/core suites/judge no-torch
suites/cases        : src/core src/tensors src/ops src/model src/train reference/scalar reference/model reference/train suites/judge
suites              : src reference kernels suites reports
'

failed=0
complain() { echo "layering: $*" >&2; failed=1; }

# room_of PATH: the longest row of the table that the path lies in.
room_of() {
  local best='' room rest
  while read -r room rest; do
    [ -n "$room" ] && [[ $1 == "$room"/* ]] && [ ${#room} -gt ${#best} ] && best=$room
  done <<<"$table"
  echo "$best"
}

while IFS= read -r -d '' file; do
  room=$(room_of "$file")
  [ -n "$room" ] || { complain "$file lies in no room"; continue; }
  allowed=$(awk -v room="$room" '$1 == room {$1 = $2 = ""; print}' <<<"$table")
  while read -r header; do
    permitted=0
    for prefix in "$room" $allowed; do
      [[ $header == "$prefix"/* ]] && permitted=1
    done
    [ "$permitted" -eq 1 ] || complain "$file includes $header: not for $room"
  done < <(sed -n 's/^#include "\(.*\)"/\1/p' "$file")
  if [[ " $allowed " == *" no-torch "* ]] && grep -qE '^#include <(ATen|c10|torch)/' "$file"; then
    complain "$file includes LibTorch: not for $room"
  fi
  if [[ $room == reference/* ]] && grep -q 'src/core/fault.h' "$file"; then
    complain "$file includes the planted faults: they belong to the candidate"
  fi
done < <(git ls-files -z -- '*.h' '*.cc' '*.cu' '*.cuh')

expected='CMakeLists.txt CMakePresets.json LICENSE README.md ci docs fixtures kernels reference reports src suites'
for entry in $(git ls-files | cut -d/ -f1 | sort -u | grep -v '^\.'); do
  [[ " $expected " == *" $entry "* ]] || complain "$entry does not belong at the top level"
done
[ "$failed" -eq 0 ] && echo "layering: ok"
