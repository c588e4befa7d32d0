#!/usr/bin/env bash
# Fails when a source file isn't formatted; rewrites nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
formatter=clang-format-14
command -v "$formatter" >/dev/null || formatter=clang-format
git ls-files -z -- '*.h' '*.cc' '*.cu' '*.cuh' | xargs -0 "$formatter" --dry-run --Werror
echo "format: ok"
