#!/usr/bin/env bash
# Unpacks lavapipe of Debian unstable, which has cooperative matrices, with all
# the libraries it needs into build/sid, for a newcomer's rights and beside what is
# installed: apt downloads from this machine's own mirror and checks signatures.
# Programs run with it through its own dynamic linker; see scripts/matrix.sh.
# Does nothing where it is there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly root=$PWD/build/sid keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ ! -e "$root/complete" ] || exit 0

mirror=$(scripts/debian-mirror.sh) && [ -e "$keyring" ] || {
  echo "lavapipe-sid: this is no Debian with a mirror and its keyring (package debian-archive-keyring)" >&2
  exit 1
}
rm -rf "$root"
mkdir -p "$root"/apt/{lists,archives}/partial
echo "deb [signed-by=$keyring] $mirror sid main" >"$root/apt/sources.list"
: >"$root/apt/status" # nothing is installed, so everything that is needed comes along

apt_sid() {
  apt-get -qq -o Dir::Etc::SourceList="$root/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State="$root/apt" -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt" \
    -o APT::Sandbox::User="$(id -un)" -o APT::Install-Recommends=false -o Acquire::Languages=none \
    -o Debug::NoLocking=1 "$@"
}
apt_sid update
apt_sid --download-only -y install libvulkan1 mesa-vulkan-drivers >/dev/null
for package in "$root"/apt/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --wildcards './usr/lib/*' './usr/lib64/*' './usr/share/vulkan/*' './usr/share/drirc.d/*' 2>/dev/null || true
done
rm -rf "$root/apt"
touch "$root/complete"
