#!/usr/bin/env bash
# Make every requirement lock anew: .venv's own, then each engine's.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH

# No header and no annotations: both would name this machine's paths and package indexes.
uv pip compile pyproject.toml --group dev --python-version 3.11 --generate-hashes --upgrade \
    --no-header --no-annotate --no-emit-index-url --quiet --output-file requirements/dev.txt
if [[ -f scripts/lock_engines.py ]]; then
    python scripts/lock_engines.py
fi
