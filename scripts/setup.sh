#!/usr/bin/env bash
# Makes this machine able to build and run Loquetier: checks the tools, and
# where Vulkan has no device to offer installs the loader and lavapipe, Mesa's
# device on the processor. Says nothing and changes nothing when all is there.
#
#   scripts/setup.sh              what building and running needs
#   scripts/setup.sh validation   and the Vulkan validation layer
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
readonly here
# Mesa 22, Debian 12's own, runs the kernels about ten times slower than 25.
readonly oldest_fast_lavapipe=23

say() { echo "setup: $*" >&2; }
fail() {
  say "$*"
  exit 1
}

# at_least tells whether the version $1 is $2 or newer.
at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# --- tools -----------------------------------------------------------------

check_tools() {
  command -v go >/dev/null ||
    fail "Go is missing: install Go 1.26 or newer (https://go.dev/doc/install)"
  local version
  version=$(go env GOVERSION) || fail "the go command does not work"
  at_least "${version#go}" 1.26 || fail "Go is $version: install Go 1.26 or newer (https://go.dev/doc/install)"

  local compiler
  read -ra compiler <<<"$(go env CC)"
  # Preprocessing a header also finds a compiler without the C library's headers.
  echo '#include <stdlib.h>' | "${compiler[@]}" -E -x c - >/dev/null 2>&1 ||
    fail "no working C compiler (${compiler[*]}): install one with the C library's headers (Debian and Ubuntu: gcc libc6-dev; Fedora: gcc glibc-devel; Arch: gcc; macOS: xcode-select --install)"
}

# --- looking for a device --------------------------------------------------

# libraries prints the shared libraries the dynamic linker knows.
libraries() { PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null || true; }

# has_library tells whether the linker finds the library $1.
has_library() {
  local folder folders
  IFS=: read -ra folders <<<"${LD_LIBRARY_PATH:-}:/usr/lib:/usr/lib64:/usr/local/lib"
  for folder in "${folders[@]}"; do
    [ -e "$folder/$1" ] && return
  done
  # Not grep -q: it would leave ldconfig with a broken pipe.
  libraries | grep -F "$1 " >/dev/null
}

# data_folders prints where the Vulkan loader looks for the kind of manifest $1.
data_folders() {
  local roots root
  IFS=: read -ra roots <<<"${XDG_CONFIG_HOME:-$HOME/.config}:${XDG_CONFIG_DIRS:-/etc/xdg}:/usr/local/etc:/etc:${XDG_DATA_HOME:-$HOME/.local/share}:${XDG_DATA_DIRS:-/usr/local/share:/usr/share}"
  for root in "${roots[@]}"; do
    echo "$root/vulkan/$1"
  done
}

# manifests prints the driver manifests (ICD) that the Vulkan loader will read.
manifests() {
  local named=${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}
  {
    tr : '\n' <<<"${named:-${VK_ADD_DRIVER_FILES:-}}"
    [ -n "$named" ] || data_folders icd.d
  } | while read -r path; do
    if [ -d "$path" ]; then
      find "$path" -maxdepth 1 -name '*.json'
    elif [ -f "$path" ]; then
      echo "$path"
    fi
  done
}

# has_driver tells whether the library that the manifest $1 names is there.
has_driver() {
  local library
  library=$(sed -n 's/.*"library_path"[^"]*"\([^"]*\)".*/\1/p' "$1" | head -n 1)
  case $library in
  '') return 1 ;;
  /*) [ -e "$library" ] ;;
  */*) [ -e "$(dirname "$1")/$library" ] ;;
  *) has_library "$library" ;;
  esac
}

# any tells whether one of the paths exists.
any() {
  local path
  for path in "$@"; do
    [ -e "$path" ] && return
  done
  return 1
}

# has_hardware tells whether there is a GPU that the manifest $1 can be for:
# distributions install manifests of hardware that is not there.
has_hardware() {
  case $(basename "$1") in
  lvp_icd*) return 0 ;; # lavapipe: any processor
  nvidia*) any /dev/nvidia[0-9]* ;;
  dzn_icd*) any /dev/dxg ;;
  *) any /dev/dri/renderD* /dev/mali* /dev/kgsl-3d0 ;;
  esac
}

# devices prints the manifests behind which a device is to be expected.
devices() {
  local manifest
  has_library libvulkan.so.1 || return 0
  manifests | while read -r manifest; do
    if has_hardware "$manifest" && has_driver "$manifest"; then
      echo "$manifest"
    fi
  done
}

# lavapipe_only tells whether the manifests $1 leave only lavapipe.
lavapipe_only() { ! grep -v '/lvp_icd[^/]*$' <<<"$1" >/dev/null; }

# slow_lavapipe tells whether the installed lavapipe is Debian 12's own.
slow_lavapipe() {
  local version
  [ "$system" = "debian 12" ] || return 1
  version=$(dpkg-query -W -f '${Version}' mesa-vulkan-drivers 2>/dev/null) || return 1
  ! at_least "$version" "$oldest_fast_lavapipe"
}

has_validation_layer() {
  local name=VkLayer_khronos_validation.json folder
  while read -r folder; do
    [ -e "$folder/$name" ] && return
  done < <(tr : '\n' <<<"${VK_LAYER_PATH:-}" && data_folders explicit_layer.d)
  return 1
}

# --- installing ------------------------------------------------------------

# identify prints "<system> <major version>" as /etc/os-release has them.
identify() {
  (
    ID='' VERSION_ID=''
    [ ! -r /etc/os-release ] || . /etc/os-release
    echo "${ID:-unknown} ${VERSION_ID%%.*}"
  )
}

# packages_here tells whether apt installs a lavapipe that will do.
packages_here() {
  case $system in
  "debian "[1-9]) return 1 ;;
  "debian "1[01]) return 1 ;;
  "debian "*) return 0 ;; # testing and unstable give no version
  "ubuntu "*) at_least "${system#ubuntu }" 24 ;;
  *) return 1 ;;
  esac
}

# by_hand fails saying that $1 is missing and how to install it, where this
# script does not; $2 is "layer" where it is the validation layer.
by_hand() {
  local install packages layer
  case $system in
  fedora* | rhel* | centos* | almalinux* | rocky*)
    install='sudo dnf install' packages='vulkan-loader mesa-vulkan-drivers' layer=vulkan-validation-layers ;;
  arch* | manjaro* | endeavouros*)
    install='sudo pacman -S' packages='vulkan-icd-loader vulkan-swrast' layer=vulkan-validation-layers ;;
  opensuse*)
    install='sudo zypper install' packages='libvulkan1 libvulkan_lvp' layer=vulkan-validationlayers ;;
  alpine*)
    install='apk add' packages='vulkan-loader mesa-vulkan-swrast' layer=vulkan-validation-layers ;;
  *)
    install='install the equivalent of Debian 13'"'"'s' packages='libvulkan1 and mesa-vulkan-drivers (lavapipe of Mesa 23 or newer), or your GPU'"'"'s driver' layer=vulkan-validationlayers ;;
  esac
  [ "${2:-}" != layer ] || packages=$layer
  fail "$1: $install $packages"
}

# can_install tells whether packages can be installed, or says why not.
can_install() {
  [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || {
    say "installing packages needs root, and there is no sudo: run scripts/setup.sh as root"
    return 1
  }
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# apt runs apt-get without questions or progress; its errors are shown.
apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >/dev/null; }

# refresh reads the package lists anew. Another publisher's broken source is no
# reason to stop: what is missing shows when packages are installed.
refresh() { apt update || say "apt-get update failed; going on with the package lists there are"; }

# add_backports makes Debian 12's backports known to apt.
add_backports() {
  local suite=bookworm-backports file=/etc/apt/sources.list.d/bookworm-backports.list
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror option=''
  if apt-get indextargets --no-release-info --format '$(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    grep -x "$suite main" >/dev/null; then
    return
  fi
  mirror=$("$here/debian-mirror.sh") || {
    say "found no Debian mirror in this machine's apt sources to take $suite from"
    return 1
  }
  [ ! -e "$keyring" ] || option="[signed-by=$keyring] "
  say "adding $suite to apt's sources in $file"
  echo "deb $option$mirror $suite main" | as_root tee "$file" >/dev/null
}

# install_lavapipe installs the loader and lavapipe.
install_lavapipe() {
  local packages=(libvulkan1 mesa-vulkan-drivers)
  can_install || return
  if [ "$system" = "debian 12" ]; then
    if add_backports && refresh && apt install -y --no-install-recommends -t bookworm-backports "${packages[@]}"; then
      return
    fi
    say "could not install ${packages[*]} from bookworm-backports: Debian 12's own lavapipe is about ten times slower"
  fi
  refresh
  apt install -y --no-install-recommends "${packages[@]}"
}

ensure_device() {
  local found
  found=$(devices)
  if [ -z "$found" ]; then
    packages_here || by_hand "no Vulkan device found"
    say "no Vulkan device found: installing the loader and lavapipe"
    install_lavapipe || fail "could not install libvulkan1 and mesa-vulkan-drivers"
    found=$(devices)
    [ -n "$found" ] || fail "still no Vulkan device after installing libvulkan1 and mesa-vulkan-drivers"
  elif lavapipe_only "$found" && slow_lavapipe; then
    say "the installed lavapipe is Mesa 22, about ten times slower than newer ones: upgrading it"
    install_lavapipe || say "could not upgrade lavapipe; going on with the one there is"
  fi
}

ensure_validation_layer() {
  if has_validation_layer; then
    return
  fi
  packages_here || by_hand "no Vulkan validation layer found" layer
  say "installing the Vulkan validation layer"
  can_install && refresh && apt install -y --no-install-recommends vulkan-validationlayers ||
    fail "could not install vulkan-validationlayers"
}

# ---------------------------------------------------------------------------

validation=''
case ${1:-} in
'') ;;
validation) validation=yes ;;
*) fail "usage: scripts/setup.sh [validation]" ;;
esac

check_tools
case $(uname -s) in
Linux)
  system=$(identify)
  ensure_device
  [ -z "$validation" ] || ensure_validation_layer
  ;;
Darwin)
  any {/opt/homebrew,/usr/local,"${VULKAN_SDK:-/nonexistent}"}/lib/lib{vulkan.1,MoltenVK}.dylib ||
    fail "no Vulkan device found: brew install vulkan-loader molten-vk${validation:+ vulkan-validationlayers}"
  ;;
esac # on Windows the GPU's driver brings Vulkan with it
