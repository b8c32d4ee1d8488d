#!/bin/sh
# Resolve the dependencies and rewrite the lock files. Pinned versions stay where they still fit;
# --upgrade takes the newest.
set -eu
cd "$(dirname "$0")"
PATH=$PWD/../.venv/bin:$PATH
command -v uv >/dev/null || { echo 'lock: no uv: pip install uv' >&2; exit 1; }

compile() {
    input=$1
    name=$2
    shift 2
    echo "lock: $name.lock"
    uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
        --custom-compile-command 'make lock' "$input" --output-file "$name.lock" "$@"
}

# The package ros-jazzy-X holds nothing but the version of ros-X that Jazzy has. There the core of
# ament-cmake-ros is no package of its own, and the whole asks for the testing packages.
jazzy() {
    grep -v '^ros-ament-cmake-ros-core' wheels.in | sed 's/^ros-/ros-jazzy-/'
    printf 'ros-jazzy-ament-cmake-%s\n' gmock gtest pytest
}

compile uv.in uv "$@"
compile wheels.in wheels "$@"
jazzy | compile - wheels_jazzy $(jazzy | sed -n 's/^ros-/--no-emit-package &/p') "$@"
compile sourced.in sourced --no-emit-package numpy --no-emit-package opencv-python-headless \
    --no-emit-package pyyaml "$@"

# For one Python and processor each: an image is built on those only.
image() {
    name=$1 python=$2 processor=$3
    shift 3
    echo "lock: docker/$name.lock"
    uv pip compile --quiet --python-version "$python" --python-platform "$processor-manylinux_2_28" \
        --generate-hashes --custom-compile-command 'make lock' "../docker/$name.in" \
        --output-file "../docker/$name.lock" "$@"
}
image cuda 3.12 x86_64 "$@"
image jetpack6 3.10 aarch64 "$@"
image jetpack7 3.12 aarch64 "$@"

echo 'lock: training/requirements.txt'
cd ../training
uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
    --custom-compile-command 'make lock' requirements.in --output-file requirements.txt "$@"
