# shellcheck shell=bash
# What the scripts share: words for people, where things are, who is running. Sourced, never run.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
STATE=${PICKET_STATE:-$REPO/.picket}
case $STATE in /*) ;; *) STATE=$PWD/$STATE ;; esac
TARGET=${CARGO_TARGET_DIR:-$REPO/target}
case $TARGET in /*) ;; *) TARGET=$PWD/$TARGET ;; esac
# shellcheck disable=SC2034 # for the scripts that source this
BIN=${PICKET_BIN_DIR:-$TARGET/debug}

if [[ -t 2 && -z ${NO_COLOR:-} ]]; then BOLD=$'\e[1m' RED=$'\e[31m' PLAIN=$'\e[0m'; else BOLD='' RED='' PLAIN=''; fi
say() { printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*" >&2; }
note() { printf '    %s\n' "$*" >&2; }
# die WHAT [WHAT TO DO…]
die() {
  printf '%serror:%s %s\n' "$RED" "$PLAIN" "$1" >&2
  shift
  local hint
  for hint in "$@"; do note "$hint"; done
  exit 1
}

# Sets SUDO to what turns a command into root's: nothing for root itself.
# shellcheck disable=SC2034 # for the scripts that source this
need_root() {
  SUDO=()
  [[ $EUID -eq 0 ]] && return
  command -v sudo >/dev/null || die "$1 needs root, and sudo is not installed" "run it as root, or install sudo"
  sudo -n true 2>/dev/null || say "$1 needs root: sudo may ask for your password"
  sudo -v || die "sudo refused" "run it as a user who may use sudo, or as root"
  SUDO=(sudo)
}

# Puts cargo on the PATH; under sudo it is usually the caller's.
need_cargo() {
  command -v cargo >/dev/null && return
  local home
  for home in "$HOME" "$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)"; do
    if [[ -x $home/.cargo/bin/cargo ]]; then
      PATH=$home/.cargo/bin:$PATH
      # Root's own rustup has no toolchain when the caller's does the work.
      export RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup} CARGO_HOME=${CARGO_HOME:-$home/.cargo}
      return
    fi
  done
  die "Rust is not installed" "install it from https://rustup.rs and run this again"
}

# True when pid file $1 names a live process that runs program $2 on our state folder; a recycled pid is not ours.
alive() {
  local pid exe
  [[ -r $1 ]] || return 1
  pid=$(<"$1")
  [[ $pid =~ ^[0-9]+$ ]] || return 1
  exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || return 1
  # A rebuilt program shows as "… (deleted)" and is still the one that we started.
  exe=${exe% (deleted)}
  [[ ${exe##*/} == "$2" ]] && grep -qzF -- "$STATE/" "/proc/$pid/cmdline" 2>/dev/null
}

# stop_one NAME SECONDS: SIGTERM by pid, wait, and only then SIGKILL, saying so.
stop_one() {
  local name=$1 file=$STATE/run/$1.pid pid tenths
  if ! alive "$file" "$name"; then
    rm -f "$file"
    return 1
  fi
  pid=$(<"$file")
  kill -TERM "$pid" 2>/dev/null || true
  for ((tenths = $2 * 10; tenths > 0; tenths--)); do
    alive "$file" "$name" || break
    sleep 0.1
  done
  if alive "$file" "$name"; then
    note "$name (pid $pid) did not stop in $2 s: killing it; what its disk holds is recovered at the next start"
    kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$file"
}

# Reads one `key = "value"` or `key = value` of a file that we generated.
setting() { sed -n "s/^$2 = \"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$1" | head -n 1; }
