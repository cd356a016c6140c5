#!/usr/bin/env bash
# Runs the tests that use the device, and a generation with the embedded model,
# under the Vulkan validation layer with synchronization validation. Fails if
# anything fails, if the layer has anything to say, or if no device was opened
# under it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation
export VK_LAYER_ENABLES=VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT
# The loader passes over a layer that it cannot load, so it is asked to tell.
export VK_LOADER_DEBUG=error,warn,layer
readonly messages='Validation (Error|Warning)|VUID|SYNC-HAZARD'

log=$(mktemp "${TMPDIR:-/tmp}/loquetier-validation.XXXXXX")

# The log is kept where it is needed.
fail() {
  echo "validation: $*; everything that was printed is in $log" >&2
  exit 1
}

# validated runs a command with its output in the log and judges that.
validated() {
  local status=0
  echo "validation: $*"
  "$@" >"$log" 2>&1 || status=$?
  if grep -E -m 5 "$messages" "$log" >&2; then
    fail "the validation layer complains about: $*"
  fi
  if [ $status != 0 ]; then
    tail -n 40 "$log" >&2
    fail "failed with status $status: $*"
  fi
  grep -i "inserted device layer \"$VK_INSTANCE_LAYERS\"" "$log" >/dev/null ||
    fail "no device was opened under the validation layer by: $*"
}

# -v shows what passing tests print, which is where the layer's messages are.
for package in ./shaders_test ./engine/vk ./engine; do
  validated go test -v -count=1 -timeout 30m "$package"
done
# Built first: a message of the compiler is none of the layer's.
program=$(mktemp -d "${TMPDIR:-/tmp}/loquetier-program.XXXXXX")
trap 'rm -rf "$program"' EXIT
go build -o "$program/loquetier" .
validated "$program/loquetier" generate --model stories --prompt "Once upon a time" --max-tokens 8 --temperature 0
rm -f "$log"
