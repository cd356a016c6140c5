#!/usr/bin/env bash
# Prints every GPU figure of BENCHMARKS.md in Go's benchmark format, a line as
# soon as it is measured. Random weights: no files are needed. Arguments choose
# among the groups below; without any all are run. $LOQUETIER is a program that
# is built already, for machines without Go; $LOQUETIER_DEVICE a device.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${LOQUETIER:-}" ]; then
  build=$(mktemp -d "${TMPDIR:-/tmp}/loquetier-bench.XXXXXX")
  trap 'rm -rf "$build"' EXIT
  LOQUETIER=$build/loquetier
  go build -o "$LOQUETIER" .
fi

bench() { "$LOQUETIER" bench "$@"; }

decode() {
  bench decode --shape 8b
  bench decode --shape 8b --adapters 1
  bench decode --shape 8b --batch 32
  bench decode --shape 8b --batch 32 --adapters 32
  bench decode --shape 8b --batch 64 --adapters 1
  bench decode --shape 8b --batch 64 --adapters 64
}

prefill() {
  bench prefill --shape 8b --rows 512
  bench prefill --shape 8b --rows 2048
  bench prefill --shape 8b --rows 2048 --adapters 1
}

train() {
  bench train --shape 8b --sequences 4 --length 1024 --micro 1
  bench train --shape 8b --sequences 4 --length 1024 --micro 1 --slices 4
  bench train --shape 8b --sequences 4 --length 1024 --micro 2
  bench train --shape 8b --sequences 4 --length 1024 --recompute on
  bench train --shape 8b --sequences 4 --length 1024
}

small() {
  local shape
  for shape in 1b qwen3-1.7b; do
    bench decode --shape "$shape"
    bench prefill --shape "$shape" --rows 512
  done
}

swap() { bench swap --shape 8b --batch 32 --adapters 32; }

kernels() { bench kernels --shape 8b; }

# Requests and training at once: at rates where most of the device is left for
# training, and at the highest that holds the SLO without training and the next above it; the trace
# $LOQUETIER_TRACE (time, prompt tokens, generated tokens) where there is one.
unified() {
  local common=(--shape 8b --adapters 4 --cache-tokens 262144 --train-rows 1024 --drain 25s)
  bench unified "${common[@]}" --load mutable --speed 3 --requests 315
  bench unified "${common[@]}" --load mutable --speed 24 --requests 1440 --jobs 0
  bench unified "${common[@]}" --load mutable --speed 17 --requests 1020 --compare
  [ -n "${LOQUETIER_TRACE:-}" ] || return 0
  bench unified "${common[@]}" --trace "$LOQUETIER_TRACE" --speed 0.8 --duration 40s
  bench unified "${common[@]}" --trace "$LOQUETIER_TRACE" --speed 3 --duration 120s --jobs 0
  bench unified "${common[@]}" --trace "$LOQUETIER_TRACE" --speed 2 --duration 80s --compare
}

[ $# -gt 0 ] || set -- decode prefill train small swap kernels unified
for group in "$@"; do
  case $group in
    decode | prefill | train | small | swap | kernels | unified) "$group" ;;
    *) echo "bench-gpu: group $group: known are decode, prefill, train, small, swap, kernels, unified" >&2; exit 2 ;;
  esac
done
