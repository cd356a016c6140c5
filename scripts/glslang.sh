#!/usr/bin/env bash
# Prints the folder of the project's shader compiler, unpacking it there first
# if need be: glslang, spirv-val, spirv-opt and spirv-dis of Debian 13, so that
# everybody generates the same SPIR-V. They run through their own loader and C
# library, which is why they work on older systems; nothing is installed.
# Only developers who change shaders need it, and only on Debian 12 or newer.
set -euo pipefail

readonly suite=trixie
readonly version=15.2
readonly packages=(glslang-tools spirv-tools libc6 libstdc++6 libgcc-s1)
readonly tools=(glslang spirv-val spirv-opt spirv-dis)

fail() {
  echo "scripts/glslang.sh: $*" >&2
  exit 1
}

# fetch downloads the packages into the folder $1 from the mirror $2, with
# package lists of its own.
fetch() {
  local apt=$1/apt keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/preferences.d"
  echo "deb [signed-by=$keyring] $2 $suite main" >"$apt/sources.list"
  : >"$apt/status"
  local options=(
    -qq
    -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null -o "Dir::Etc::PreferencesParts=$apt/preferences.d"
    -o "Dir::State::Lists=$apt/lists" -o "Dir::State::status=$apt/status"
    -o "Dir::Cache=$apt/cache" -o Acquire::Languages=none
    # The download goes to the caller's cache folder, which apt's own user
    # may not enter.
    -o "APT::Sandbox::User=$(id -un)"
  )
  apt-get "${options[@]}" update >&2
  (cd "$1" && apt-get "${options[@]}" download "${packages[@]}" >&2)
}

# wrap writes a script for each tool beside the unpacked tree $1.
wrap() {
  local tool
  for tool in "${tools[@]}"; do
    cat >"$1/$tool" <<'WRAPPER'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
for loader in "$root"/usr/lib/*/ld-linux-*.so.*; do
  exec "$loader" --library-path "$(dirname "$loader")" "$root/usr/bin/$(basename "$0")" "$@"
done
WRAPPER
    chmod +x "$1/$tool"
  done
}

# install_into unpacks the tools into the folder $1 in one step: it appears
# complete or not at all, also when several callers start at once.
install_into() {
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    fail "the pinned shader compiler is unpacked from Debian packages; this system has no apt-get and dpkg"
  local from
  from=$("$(dirname "${BASH_SOURCE[0]}")/debian-mirror.sh") ||
    fail "found no Debian mirror in this machine's apt sources to take $suite's packages from"

  mkdir -p "$(dirname "$1")"
  work=$(mktemp -d "$1.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  fetch "$work" "$from" || fail "could not download ${packages[*]} of Debian $suite from $from"
  mkdir "$work/root"
  local deb
  for deb in "$work"/*.deb; do
    dpkg -x "$deb" "$work/root"
  done
  wrap "$work"
  "$work/glslang" --version | grep -q "^Glslang Version: [0-9]*:$version\." ||
    fail "expected glslang $version in Debian $suite, found: $("$work/glslang" --version | head -n 1)"
  rm -rf "$work/apt" "$work"/*.deb
  chmod 755 "$work"
  mv -T "$work" "$1" 2>/dev/null || [ -x "$1/glslang" ] || fail "could not create $1"
}

folder=${XDG_CACHE_HOME:-$HOME/.cache}/loquetier/glslang-$version
[ -x "$folder/glslang" ] || install_into "$folder"
echo "$folder"
