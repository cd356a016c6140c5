#!/usr/bin/env bash
# Runs the tests that use the device, each in a process of its own and several at
# a time: most of their time goes to the driver's compiler, on one core, and NVIDIA's driver is not
# to be opened more than a few dozen times in a process. A line is printed as soon as a test ends, with
# what it skips, and the output of one that fails; a pattern chooses among their names. $WORKERS is
# how many run at a time; $PACKAGES those of the tests; $LOQUETIER_DEVICE the device; $LAUNCHER what the
# test programs are run by; $LOQUETIER_TESTS a folder of them (go test -c -o FOLDER/NAME.test
# ./PACKAGE), for machines without Go.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pattern=${1:-.}
read -ra packages <<<"${PACKAGES:-shaders_test engine engine/vk virtualmod cli}"
work=$(mktemp -d "${TMPDIR:-/tmp}/loquetier-tests.XXXXXX")
trap 'rm -rf "$work"' EXIT
programs=$(realpath "${LOQUETIER_TESTS:-$work}")
export programs failed=$work/failed LAUNCHER=${LAUNCHER:-}

if [ -z "${LOQUETIER_TESTS:-}" ]; then
  for package in "${packages[@]}"; do go test -c -o "$programs/${package##*/}.test" "./$package"; done
fi

# program runs a package's test program in its folder.
program() (
  local package=$1
  shift
  cd "$package" && exec $LAUNCHER "$programs/${package##*/}.test" "$@"
)

# one runs a test of a package.
one() {
  local begun=$SECONDS output state=PASS
  output=$(program "$1" -test.v -test.timeout 10m -test.run "^$2\$" 2>&1) || state=FAIL
  [ $state = FAIL ] || ! grep -q '^--- SKIP' <<<"$output" || state=SKIP
  printf '%s %s %s (%d s)\n' "$state" "$1" "$2" $((SECONDS - begun))
  # A test whose parts are skipped passes all the same: they are told as well.
  [ $state = FAIL ] || { grep -E '^ +--- SKIP' <<<"$output" || true; return; }
  printf '%s\n' "$output" | grep -v '^=== ' | tail -n 40
  echo "$1 $2" >>"$failed"
}
export -f program one

for package in "${packages[@]}"; do
  program "$package" -test.list "$pattern" 2>/dev/null | sed -n "s|^Test|$package &|p"
done >"$work/tests"
[ -s "$work/tests" ] || { echo "test-gpu: no test's name matches $pattern" >&2; exit 2; }
xargs -P "${WORKERS:-8}" -L 1 bash -c 'one "$1" "$2"' one <"$work/tests"
if [ -s "$failed" ]; then
  echo "test-gpu: $(wc -l <"$failed") of $(wc -l <"$work/tests") tests failed" >&2
  exit 1
fi
