#!/usr/bin/env bash
# `make bench [ONLY=name] [PROFILE=release]`: takes the figures beside their peers and keeps them in docs/figures.json. The default profile is
# the one that `make up` runs; the figures of SPECIFICATION.md are taken with PROFILE=release.
. "$(dirname "$0")/lib.sh"
need_root "loading the sensor into the kernel, and auditd beside it,"
need_cargo
cd "$REPO"
"$REPO/scripts/packages.sh"
profile=${PROFILE:-dev}
folder=$profile
if [[ $profile == dev ]]; then folder=debug; fi
say "building ($profile)"
# The benchmarks are among the workspace's programs: one union of features, nothing is built twice. Cargo names the lake's benchmark with a hash.
lake=$(cargo build --workspace --locked --profile "$profile" --bins --bench lake --message-format=json-render-diagnostics |
  sed -n 's/.*"executable":"\([^"]*\/lake-[0-9a-f]*\)".*/\1/p')
[[ -x $lake ]] || die "the lake's benchmark was not built"
arguments=(--out "$REPO/docs/figures.json")
if [[ -n ${ONLY:-} ]]; then arguments+=(--only "$ONLY"); fi
"${SUDO[@]}" env "PICKET_BIN_DIR=$TARGET/$folder" "PICKET_LAKE_BENCH=$lake" "CARGO_TARGET_DIR=$TARGET" "PATH=$PATH" "$TARGET/$folder/picket-bench" "${arguments[@]}"
say "written to docs/figures.json; \`make figures\` puts them into SPECIFICATION.md"
