#!/usr/bin/env bash
# Dependency direction by xtask; licences, advisories and bans by cargo-deny where it is installed.
. "$(dirname "$0")/lib.sh"
need_cargo
cd "$REPO"
cargo xtask check-deps
if command -v cargo-deny >/dev/null; then
  cargo deny --locked check "${DENY_CHECKS:-all}"
else
  note "cargo-deny is not installed (cargo install --locked cargo-deny): licences and advisories not checked"
fi
