#!/usr/bin/env bash
# `make up`: install what is missing, build as the caller, then start both programs as root (the sensor loads into the kernel).
. "$(dirname "$0")/lib.sh"
[[ $(uname -s) == Linux ]] || die "Picket's agent runs on Linux only"
if [[ ! -r /sys/kernel/btf/vmlinux ]]; then
  die "this kernel has no BTF (/sys/kernel/btf/vmlinux), which the probes need" "boot a distribution kernel of Debian 11, Ubuntu 20.10 or newer"
fi
need_root "loading the sensor into the kernel"
run=("${SUDO[@]}" env "PICKET_STATE=$STATE" "PICKET_BIN_DIR=$BIN" "DETACH=${DETACH:-}" "$REPO/scripts/run.sh")
"${run[@]}" check || exit $?
"$REPO/scripts/build.sh"
exec "${run[@]}"
