#!/bin/sh
# Resolve the dependencies and rewrite the lock files. Pinned versions stay where they still fit;
# --upgrade takes the newest.
set -eu
cd "$(dirname "$0")"
PATH=$PWD/../.venv/bin:$PATH
command -v uv >/dev/null || { echo 'lock: no uv: pip install uv' >&2; exit 1; }

compile() {
    name=$1
    shift
    echo "lock: $name.lock"
    uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
        --custom-compile-command 'make lock' "$name.in" --output-file "$name.lock" "$@"
}

compile uv "$@"
compile wheels "$@"
compile sourced --no-emit-package numpy --no-emit-package opencv-python-headless \
    --no-emit-package pyyaml "$@"

echo 'lock: training/requirements.txt'
cd ../training
uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
    --custom-compile-command 'make lock' requirements.in --output-file requirements.txt "$@"
