#!/usr/bin/env bash
# `make bench [ONLY=name]`: takes the figures beside their peers and keeps them in docs/figures.json. Measures the programs of
# PICKET_BIN_DIR where that is set (a release build, say), else those that `make build` made.
. "$(dirname "$0")/lib.sh"
need_root "loading the sensor into the kernel, and auditd beside it,"
need_cargo
cd "$REPO"
# The benchmarks are among the workspace's programs: one union of features, nothing is built twice.
"$REPO/scripts/build.sh"
arguments=(--out "$REPO/docs/figures.json")
if [[ -n ${ONLY:-} ]]; then arguments+=(--only "$ONLY"); fi
"${SUDO[@]}" env "PICKET_BIN_DIR=$BIN" "CARGO_TARGET_DIR=$TARGET" "PATH=$PATH" "$TARGET/debug/picket-bench" "${arguments[@]}"
say "written to docs/figures.json; \`make figures\` puts them into SPECIFICATION.md"
