#!/bin/sh
# Writes what the images install, with hashes, from pyproject.toml and constraints.txt: run it after either has changed.
#
#     .venv/bin/pip install uv && deploy/lock.sh          from the repository's root
#
# Linux on x86-64, Python 3.12, torch as PyPI has it (CUDA). Needs a registry; builds nothing but two packages' metadata.
set -eu

UV=${UV:-.venv/bin/uv}
OUT=deploy/requirements
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# basicsr asks for it, nothing uses it, and its old nightly builds are removed upstream.
echo "tb-nightly ; python_version < '3'" > "$work/overrides"

lock() { # NAME, then what to lock
    name=$1
    shift
    "$UV" pip compile -q "$@" -c constraints.txt --override "$work/overrides" --generate-hashes --no-annotate --no-header \
        --python-version 3.12 --python-platform x86_64-manylinux_2_28 --no-build-isolation -o "$work/$name"
}
head_of() { printf '# Written by deploy/lock.sh. %s\n' "$1"; }
# One requirement with its hashes is a block; a block of torch's family names a wheel that brings or uses CUDA.
blocks() { # FAMILY or REST
    awk -v wanted="$1" '/^[^ ]/ { family = ($0 ~ /^(torch|torchvision|triton|nvidia-[a-z0-9-]*|cuda-[a-z-]*)==/) }
        (wanted == "FAMILY") == family' "$work/worker"
}

lock api pyproject.toml --extra api --extra otel
lock worker pyproject.toml --extra worker --extra otel
printf 'hatchling\nsetuptools>=77\n' > "$work/build.in"
lock build "$work/build.in"

mkdir -p "$OUT"
{ head_of "What API and keeper run on."; cat "$work/api"; } > "$OUT/api.txt"
{ head_of "What workers run on, but torch."; blocks REST; } > "$OUT/worker.txt"
{ head_of "torch for CUDA and what it brings."; blocks FAMILY; } > "$OUT/torch-cuda.txt"
{ head_of "What builds photomend, and the packages that come as sources."; cat "$work/build"; } > "$OUT/build.txt"
