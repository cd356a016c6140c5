#!/usr/bin/env bash
# Runs the tests of the kernels on cooperative matrices, and of the tiny models
# on them, on the lavapipe that lavapipe-sid.sh unpacks: the distributions' own has no
# such matrices. Where there is none to be had it says so and tests nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/lavapipe-sid.sh || {
  echo "matrix: SKIPPED: THE KERNELS ON COOPERATIVE MATRICES ARE NOT TESTED, lavapipe of Debian unstable is not to be had here" >&2
  exit 0
}
root=$PWD/build/sid
libraries=$(dirname "$(find "$root/usr/lib" -name libvulkan_lvp.so | head -n 1)")
linker=$(find "$libraries" -name 'ld-linux*' | head -n 1)
export VK_DRIVER_FILES=$root/usr/share/vulkan/icd.d/lvp_icd.json XDG_CACHE_HOME=$root/cache

# matrices runs a package's tests whose names match. They run in the package's
# folder, with unstable's own C library.
matrices() {
  go test -c -o "build/$1.test" "./$1"
  (cd "$1" && "$linker" --library-path "$libraries" "../build/$1.test" -test.timeout 30m -test.v -test.run "$2") >build/matrix.log 2>&1 || {
    tail -n 40 build/matrix.log >&2
    echo "matrix: the tests of $1 failed; everything that was printed is in build/matrix.log" >&2
    exit 1
  }
  grep -q -- '^--- PASS' build/matrix.log || {
    echo "matrix: no test of $1 ran on cooperative matrices" >&2
    exit 1
  }
  # A test whose parts are skipped passes all the same: they are told as well.
  grep -E -- '^--- |^ +--- SKIP' build/matrix.log
}
matrices engine 'SmallMatrices$|^TestLogits$'
matrices shaders_test 'OnMatrices$|^TestLinearFew$|^TestFewRows|^TestMatricesKeep|^TestMeasuredWays'
