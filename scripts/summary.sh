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
# Why each failed test failed, by the last thing that panicked in it: a test that runs itself again elsewhere shows what happened there.
awk '
  function tell() { if (name != "" && why != "") print "error: " name ": " why; name = why = ""; take = 0 }
  /^(successes:$| +(Running|Doc-tests) )/ { tell(); failures = 0 }
  /^failures:$/ { failures = 1 }
  /^---- .* stdout ----$/ { tell(); if (failures) name = $2 }
  take && NF { why = substr($0, 1, 1000); take = 0 }
  / panicked at / && name != "" { take = 1 }
  END { tell() }' "$log"
for step in "$@"; do printf 'FAILED step %s\n' "$step"; done
echo "$((passed - skipped)) passed, $((failed + $#)) failed, $((skipped + ignored)) skipped"
((failed + $# == 0 && passed > 0))
