#!/usr/bin/env bash
# Format, lints as errors, rules of the tree: the minutes-long part of `make test`.
. "$(dirname "$0")/lib.sh"
"$REPO/scripts/packages.sh"
need_cargo
cd "$REPO"
say "format"
cargo fmt --all --check || die "sources are not formatted" "run: make fmt"
if command -v shellcheck >/dev/null; then
  say "shell scripts"
  shellcheck -x -P SCRIPTDIR scripts/*.sh .ci/run || die "shellcheck found something"
else
  note "shellcheck is not installed: scripts not checked"
fi
say "rules of the tree"
cargo xtask ci || die "a rule of the tree is broken" "each line above says where and what to do"
say "lints"
cargo clippy --workspace --all-targets --locked -- -D warnings || die "clippy found something"
