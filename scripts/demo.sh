#!/usr/bin/env bash
# Deploy the shapes detector to a virtual RK3566 and to this machine, and show the tables.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PWD/.venv/bin:$PATH

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}
# Two engines show the whole line; without --engine all of them run, each in a toolbox to be made.
show edgekit deploy shapes --target rk3566 --device virtual --engine onnxruntime,ncnn
# Whoever looks on is at work on this machine, too: times that are not believed are no failure here.
show edgekit deploy shapes --target local --engine onnxruntime,ncnn --accept-invalid
printf '\nThe board stays up: edgekit board ssh rk3566 logs in, edgekit board down rk3566 stops it.\n'
printf 'Next: .venv/bin/edgekit status --device local, then edgekit rollback --device local\n'
