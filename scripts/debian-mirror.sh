#!/usr/bin/env bash
# Prints the address this machine's own apt sources, in either of apt's formats,
# take the main component of its Debian release from; fails where there is none.
set -euo pipefail

. /etc/os-release
[ "${ID:-}" = debian ] && [ -n "${VERSION_CODENAME:-}" ] || exit 1

# Other publishers also call a suite after a Debian release, so an address that
# serves the release's updates too comes first, then one with Debian's name.
apt-get indextargets --no-release-info \
  --format '$(RELEASE) $(COMPONENT) $(SITE)' 'Created-By: Packages' |
  awk -v release="$VERSION_CODENAME" '
    $2 != "main"              { next }
    $1 == release             { sites[++n] = $3 }
    $1 == release "-updates"  { updates[$3] = 1 }
    END {
      for (i = n; i >= 1; i--) {
        rank = (sites[i] in updates) ? 3 : (sites[i] ~ /\/debian/) ? 2 : 1
        if (rank >= best) { best = rank; site = sites[i] }
      }
      if (n == 0) exit 1
      print site
    }'
