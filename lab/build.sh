#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "$0")"; G=$(../scripts/glslang.sh)
b() { out=$1; src=$2; shift 2; "$G/glslang" -V --quiet --target-env vulkan1.3 "$@" -o "$out.spv" "$src"; }
b khr1 khr.comp -DSTAGES=1; b khr2 khr.comp -DSTAGES=2; b khr1b khr.comp -DSTAGES=1 -DBFIRST; b khr2b khr.comp -DSTAGES=2 -DBFIRST
b nv2 nv2.comp; b nv2u nv2.comp -DUNROLL=2; b nv2u4 nv2.comp -DUNROLL=4
