#!/usr/bin/env bash
# Runs the tests that use the device, each in a process of its own and several at
# a time, since most of their time goes to the driver's compiler, on one core. A line is printed as
# soon as a test ends, with the output of one that fails; a pattern chooses among their names.
# $WORKERS is how many run at a time; $LOQUETIER_DEVICE the device; $LOQUETIER_TESTS a folder of test
# programs (go test -c -o FOLDER/NAME.test ./PACKAGE), for machines without Go.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pattern=${1:-.}
work=$(mktemp -d "${TMPDIR:-/tmp}/loquetier-tests.XXXXXX")
trap 'rm -rf "$work"' EXIT
export programs=${LOQUETIER_TESTS:-$work} failed=$work/failed
programs=$(realpath "$programs")

packages=(shaders_test engine engine/vk virtualmod)
if [ -z "${LOQUETIER_TESTS:-}" ]; then
  for package in "${packages[@]}"; do go test -c -o "$programs/${package##*/}.test" "./$package"; done
fi

# one runs a test of a package.
one() {
  local begun=$SECONDS output state=PASS
  output=$(cd "$1" && timeout 600 "$programs/${1##*/}.test" -test.v -test.run "^$2\$" 2>&1) || state=FAIL
  printf '%s %s %s (%d s)\n' "$state" "$1" "$2" $((SECONDS - begun))
  [ $state = PASS ] && { grep -E -- '^ *--- SKIP' <<<"$output" || true; return; }
  printf '%s\n' "$output" | grep -v '^=== ' | tail -n 40
  echo "$1 $2" >>"$failed"
}
export -f one

for package in "${packages[@]}"; do
  (cd "$package" && "$programs/${package##*/}.test" -test.list "$pattern" 2>/dev/null) | sed -n "s|^Test|$package &|p"
done >"$work/tests"
[ -s "$work/tests" ] || { echo "test-gpu: no test's name matches $pattern" >&2; exit 2; }
xargs -P "${WORKERS:-8}" -L 1 bash -c 'one "$1" "$2"' one <"$work/tests"
if [ -s "$failed" ]; then
  echo "test-gpu: $(wc -l <"$failed") of $(wc -l <"$work/tests") tests failed" >&2
  exit 1
fi
