#!/usr/bin/env bash
# packages.sh [test]: installs the Debian packages that the build (or the tests too) needs and that are missing; does nothing, and needs no
# root, when none is.
. "$(dirname "$0")/lib.sh"

# clang compiles the kernel side; libbpf-dev and linux-libc-dev hold its headers; gcc links Rust and builds SQLite, zstd and aws-lc.
PACKAGES=(ca-certificates clang gcc libbpf-dev libc6-dev linux-libc-dev make pkg-config)
# What the tests do to a host as a user would, and the readers of the lake that are not ours.
[[ ${1:-} != test ]] || PACKAGES+=(bpftool curl iproute2 nftables python3 python3-pip python3-venv)

if ! command -v dpkg-query >/dev/null; then
  die "this is not Debian or Ubuntu, so missing packages cannot be installed from here" \
    "install clang, gcc, make, pkg-config and the headers of libbpf and Linux by hand, then: scripts/build.sh"
fi
missing=()
for package in "${PACKAGES[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true) == ii* ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

say "installing Debian packages that the build needs: ${missing[*]}"
need_root "installing packages"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install=("${SUDO[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}")
# The lists may be absent or stale on a fresh machine: refresh them first, and let the install have the last word.
"${SUDO[@]}" apt-get update -q >"$log" 2>&1 || note "apt-get update failed; trying with the lists that are there"
if ! "${install[@]}" >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  die "apt-get could not install: ${missing[*]}" "read its last lines above; without a network, install these packages by hand"
fi
