#!/usr/bin/env bash
# summary.sh LOG [FAILED STEP…]: what a log of `cargo test -- --show-output` says, in one line, and the names of what was skipped.
# A test that cannot run here passes after printing `SKIPPED <name>: <reason>`; it is counted as skipped, never as passed.
. "$(dirname "$0")/lib.sh"
log=$1
shift
read -r passed failed ignored < <(awk '
  /^test result: / { for (i = 1; i < NF; i++) { if ($(i + 1) == "passed;") p += $i; if ($(i + 1) == "failed;") f += $i; if ($(i + 1) == "ignored;") g += $i } }
  END { print p + 0, f + 0, g + 0 }' "$log")
skips=$(grep -oE '^SKIPPED [^ ]+: .*' "$log" | sort -u -k2,2 || true)
skipped=$(grep -c . <<<"$skips" || true)
if ((skipped)); then printf '%s\n' "$skips"; fi
if ((ignored)); then grep -E '^test .* \.\.\. ignored' "$log" | sed 's/^test \(.*\) \.\.\. ignored,* */SKIPPED \1: ignored /'; fi
for step in "$@"; do printf 'FAILED step %s\n' "$step"; done
echo "$((passed - skipped)) passed, $((failed + $#)) failed, $((skipped + ignored)) skipped"
((failed + $# == 0 && passed > 0))
