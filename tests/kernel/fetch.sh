#!/usr/bin/env bash
# fetch.sh PATTERN: prints the folder of the newest Debian kernel package whose name matches, downloaded and unpacked once.
# Nothing is installed here: apt gets a state of its own, filled from this host's own mirror with the suites that hold older and newer kernels.
set -euo pipefail
pattern=$1
cache=${PICKET_KERNEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/picket-kernels}
apt=$cache/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
options=(-o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache"
  -o Dir::State::status=/dev/null -o APT::Sandbox::User=root -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)

if [[ ! -f $apt/stamp || -n $(find "$apt/stamp" -mmin +1440) ]]; then
  mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
  mirror=${mirror:-$(awk '$1 == "deb" { print $2; exit }' /etc/apt/sources.list 2>/dev/null || true)}
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ $mirror == */debian* && -f $keyring ]] || { echo "this host has no Debian mirror to take kernels from" >&2; exit 3; }
  base=${mirror%%/debian*}
  for suite in "debian bullseye" "debian-security bullseye-security" "debian bookworm" "debian-security bookworm-security" "debian trixie" "debian trixie-backports"; do
    echo "deb [signed-by=$keyring] $base/$suite main"
  done >"$apt/sources.list"
  if ! apt-get "${options[@]}" update >"$apt/log" 2>&1; then
    tail -n 3 "$apt/log" >&2
    exit 3
  fi
  touch "$apt/stamp"
fi

package=$(apt-cache "${options[@]}" search --names-only "^$pattern\$" | cut -d ' ' -f 1 | sort -V | tail -n 1)
[[ -n $package ]] || { echo "no package is named like $pattern" >&2; exit 3; }
folder=$cache/$package
if [[ ! -f $folder/complete ]]; then
  rm -rf "$folder" "$folder.part"
  mkdir -p "$folder.part"
  # From 7.0 on the image is split in several packages.
  mapfile -t packages < <(echo "$package"; apt-cache "${options[@]}" depends "$package" | grep -oE 'linux-(binary|modules)-[^ >]+' | sort -u)
  for each in "${packages[@]}"; do
    (cd "$folder.part" && apt-get "${options[@]}" download "$each" >/dev/null && dpkg -x "$each"_*.deb . && rm -f "$each"_*.deb)
  done
  touch "$folder.part/complete"
  mv "$folder.part" "$folder"
fi
echo "$folder"
