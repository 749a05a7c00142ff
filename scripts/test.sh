#!/usr/bin/env bash
# Everything that must pass. Ends with one line `N passed, N failed, N skipped`; exit status 0 only when nothing failed.
. "$(dirname "$0")/lib.sh"
"$REPO/scripts/packages.sh" test
need_cargo
cd "$REPO"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed_steps=()

"$REPO/scripts/lint.sh" || failed_steps+=("lint")
say "building the programs that the tests start"
cargo build --workspace --bins --locked || die "the build failed" "the first error above says why"

say "tests"
# --show-output: a passed test's words reach the log, where `SKIPPED name: reason` lines are collected; the screen shows only the essence.
# --no-fail-fast: one broken room does not hide another.
status=0
PICKET_BIN_DIR=$BIN cargo test --workspace --locked --no-fail-fast -- --show-output >"$log" 2>&1 &
test_pid=$!
trap 'kill -TERM "$test_pid" 2>/dev/null || true; rm -f "$log"' EXIT
tail --pid="$test_pid" -n +1 -f "$log" 2>/dev/null |
  grep --line-buffered -E '^ +(Running|Doc-tests|Compiling picket)|^test result|^test .* FAILED$|^error|panicked at|^SKIPPED ' || true
wait "$test_pid" || status=$?
trap 'rm -f "$log"' EXIT

if ((status)); then
  # What failed, in full: from the list of failures to each suite's result.
  awk '/^failures:$/ { show = 1 } show { print } /^test result/ { show = 0 }' "$log" | head -n 400 >&2
  grep -E '^(error|test .* FAILED)' "$log" >&2 || true
fi
"$REPO/scripts/summary.sh" "$log" "${failed_steps[@]}" || exit 1
# A suite that did not compile or crashed reports no failed test.
((status == 0)) || die "cargo test ended with status $status"
