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

# Test programs run with unstable's own C library, one for every core: most of the time goes to
# the compiler of the kernels, which uses one.
for package in engine shaders_test; do go test -c -o "build/matrix/$package.test" "./$package"; done
PACKAGES='engine shaders_test' LOQUETIER_TESTS=build/matrix LAUNCHER="$linker --library-path $libraries" WORKERS=$(nproc) \
  scripts/test-gpu.sh 'SmallMatrices$|^TestLogits$|OnMatrices$|^TestLinearFew$|^TestFewRows|^TestMatricesKeep|^TestMeasuredWays' | tee build/matrix.log
for package in engine shaders_test; do
  grep -q "^PASS $package " build/matrix.log || {
    echo "matrix: no test of $package ran on cooperative matrices" >&2
    exit 1
  }
done
