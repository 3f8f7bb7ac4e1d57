#!/usr/bin/env bash
# Every check that runs no code: style, types, who may import whom, the board's Python floor.
# Each one runs even if another fails, so that one call shows all that is wrong.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH

failed=()
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "ok    $name"
    else
        echo "FAIL  $name: $*"
        echo "$output" | sed 's/^/      /'
        failed+=("$name")
    fi
}

# What runs on a board must do so on Python 3.6, which a Jetson Nano still ships.
shopt -s nullglob
on_board=(device_agent edgekit/onboard edgekit/engines/*/runner.py)
for script in scripts/*.sh .ci/run; do
    check "bash -n $script" bash -n "$script"
done
check "ruff check" ruff check .
check "ruff format" ruff format --check .
check "mypy" mypy
check "lint-imports" lint-imports
check "vermin 3.6" vermin --target=3.6- --violations --no-tips --eval-annotations "${on_board[@]}"

if ((${#failed[@]})); then
    echo "lint: ${#failed[@]} of the checks failed: ${failed[*]}" >&2
    exit 1
fi
