#!/usr/bin/env bash
# Make .venv: edgekit (editable) and its development tools, from hash-locked requirements.
#
# Does nothing when .venv is already what requirements/dev.txt and pyproject.toml ask for.
# pip's own settings (mirrors, proxies, certificates) are the user's and stay untouched.
# PYTHON=/path/to/python3.11 chooses the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/.edgekit-stamp
unfinished=$venv/.edgekit-unfinished

say() { echo "edgekit: $*" >&2; }

# The folder is part of the stamp: scripts in a moved environment point at the former place.
wanted=$( (cat requirements/dev.txt pyproject.toml && pwd -P) | sha256sum | cut -d' ' -f1)
is_current() { [[ -f $stamp && $(<"$stamp") == "$wanted" && -x $venv/bin/edgekit ]]; }
is_current && exit 0

# One at a time: a second `make` in the same folder waits here, then finds all done.
exec 9<"${BASH_SOURCE[0]}"
flock 9
is_current && exit 0

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
makes_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

candidates=(python3.11 /usr/bin/python3.11 python3 python3.12 python3.13)
[[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")

# Print the first candidate that is new enough and passes the given test.
find_python() {
    local name path
    for name in "${candidates[@]}"; do
        path=$(command -v "$name") || continue
        [[ $path != "$PWD/"* ]] || continue # an activated .venv cannot remake itself
        if is_new_enough "$path" && { [[ -z ${1:-} ]] || "$1" "$path"; }; then
            echo "$path"
            return
        fi
    done
    return 1
}

if ! python=$(find_python makes_venvs); then
    # Debian splits venv off into a package of its own.
    bash scripts/system-packages.sh python || exit
    if ! python=$(find_python makes_venvs); then
        found=$(find_python || true)
        say "no Python 3.11 or newer that can make virtual environments was found" \
            "${found:+(found $found, which lacks venv or ensurepip)}"
        say "install one, or name one: make venv PYTHON=/path/to/python3.11"
        exit 3
    fi
fi

say "making or refreshing $venv with $python (a minute or two at first)"
# A half-made environment is thrown away; a complete one of an older lock is brought up to date.
[[ ! -e $unfinished ]] || rm -rf "$venv"
if [[ -e $venv ]] && ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
fi
mkdir -p "$venv"
touch "$unfinished"
rm -f "$stamp"
[[ -x $venv/bin/python ]] || "$python" -m venv "$venv"

install() {
    # The virtual environment is ours alone, so a user's `--user` default must not reach it.
    PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$venv/bin/python" -m pip install -qq --no-input "$@" </dev/null
}
install --require-hashes --requirement requirements/dev.txt
install --no-deps --no-build-isolation --editable .

rm -f "$unfinished"
echo "$wanted" >"$stamp"
