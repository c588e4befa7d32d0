#!/usr/bin/env bash
# Fails when docs/coverage.md calls a row covered without a suite, names a suite or a test that doesn't
# exist, or leaves a suite out; and when docs/testing.md lacks a planted fault. Names are those of suite_names.h and of the tests that CMake adds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
table=docs/coverage.md

suites=$(sed -n '/kSuiteNames/,/};/p' suites/runner/suite_names.h | grep -oE '"[a-z_]+"' | tr -d '"')
selftests=$(sed -nE 's/^sparity_add_selftest\(([a-z_]+).*/\1/p' suites/selftest/CMakeLists.txt)
fuzzed=$(sed -nE 's/^foreach\(subject ([a-z ]+)\)$/\1/p' suites/selftest/fuzz/CMakeLists.txt)
known=$'\n'
for name in $suites; do known+=$name$'\n'; done
if grep -qF 'NAME kills.${suite}.${dtype}' suites/runner/CMakeLists.txt; then
  for name in $suites; do known+=kills.$name$'\n'; done
fi
for name in $selftests; do known+=selftest.$name$'\n'; done
for name in $fuzzed; do known+=fuzz.replay.$name$'\n'; done

failed=0
complain() { echo "coverage: $*" >&2; failed=1; }

rows=0
covered=0
while IFS='|' read -r _ row status named _; do
  read -r row <<<"$row"
  read -r status <<<"$status"
  read -r named <<<"${named//[\`,]/}"
  case $row in row | ---*) continue ;; esac
  rows=$((rows + 1))
  case $status in
    covered)
      covered=$((covered + 1))
      [ -n "$named" ] || complain "'$row' is called covered and names no suite"
      for name in $named; do
        [[ $known == *$'\n'"$name"$'\n'* ]] || complain "'$row' names '$name', which is no suite and no test"
      done
      ;;
    'not yet') [ -z "$named" ] || complain "'$row' is not yet covered and names $named" ;;
    *) complain "'$row': expected the status 'covered' or 'not yet', found '$status'" ;;
  esac
done < <(grep '^|' "$table")

[ "$rows" -gt 0 ] || complain "$table holds no rows"
[ -n "$suites" ] || complain "no suite names in suites/runner/suite_names.h"
for name in $suites; do
  grep -qF "\`$name\`" "$table" || complain "suite '$name' proves no row of $table"
done

# Every planted fault stands in docs/testing.md as the register has it: id, mistake, suite, place.
faults=0
while IFS='|' read -r id mistake suite place; do
  faults=$((faults + 1))
  grep -qF "| $id | $mistake | \`$suite\` | \`$place\` |" docs/testing.md ||
    complain "docs/testing.md lacks the row of fault $id: '$mistake', suite $suite, at $place"
done < <(tr -s '\n ' ' ' <src/core/fault.cc | grep -oE 'FaultInfo\{k[^}]*\}' |
  sed -E 's/^FaultInfo\{[A-Za-z0-9]+, "([^"]*)", "([^"]*)", "([^"]*)", "([^"]*)"(, "[^"]*")?\}$/\1|\2|\3|\4/')
[ "$faults" -gt 0 ] || complain "no planted faults in src/core/fault.cc"

[ "$failed" -eq 0 ] && echo "coverage: ok ($covered of $rows rows covered)"
