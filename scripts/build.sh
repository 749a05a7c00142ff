#!/usr/bin/env bash
# Builds the four programs with cargo's own progress. One invocation, so that shared dependencies are built once with one set of features.
. "$(dirname "$0")/lib.sh"
"$REPO/scripts/packages.sh"
need_cargo
cd "$REPO"
if [[ -x $BIN/picket-server ]]; then say "building"; else say "building; the first time takes 15 to 25 minutes on two cores, the storage engine is most of it"; fi
start=$SECONDS
# Under `sudo make up` the build stays the caller's, so that the target folder does too.
if [[ $EUID -eq 0 && -n ${SUDO_USER:-} && $SUDO_USER != root && ! -e $TARGET ]]; then install -d -o "$SUDO_USER" "$TARGET"; fi
# Of the whole workspace, so that features are those of the tests; its benchmarks and load generators are not needed here.
build=(cargo build --workspace --locked --bin picket-server --bin picket-agent --bin picket-scanner --bin picketctl)
if [[ $EUID -eq 0 && -n ${SUDO_USER:-} && $(stat -c %U "$TARGET" 2>/dev/null) == "$SUDO_USER" && $SUDO_USER != root ]]; then
  build=(sudo -u "$SUDO_USER" env "PATH=$PATH" "CARGO_TARGET_DIR=$TARGET" "${build[@]}")
fi
"${build[@]}" || die "the build failed" "the first error above says why; a killed compiler means too little memory: try CARGO_BUILD_JOBS=1"
note "built in $((SECONDS - start)) s into $BIN"
