#!/usr/bin/env bash
# `make status`: what runs, and what both report. Exit status 0 when both run, 3 when not.
. "$(dirname "$0")/lib.sh"
if [[ ! -d $STATE ]]; then
  echo "never started: there is no state folder $STATE (make up)"
  exit 3
fi
if [[ $EUID -ne 0 ]]; then
  need_root "asking the agent"
  exec "${SUDO[@]}" env "PICKET_STATE=$STATE" "PICKET_BIN_DIR=$BIN" "$REPO/scripts/status.sh"
fi
result=0
for name in picket-server picket-agent; do
  if alive "$STATE/run/$name.pid" "$name"; then
    echo "$name: running, pid $(<"$STATE/run/$name.pid")"
  else
    echo "$name: not running"
    result=3
  fi
done
((result == 0)) || exit "$result"
export PICKET_CONFIG=$STATE/picketctl.toml
echo
"$BIN/picketctl" server status || result=1
echo
"$BIN/picketctl" hosts || result=1
echo
"$BIN/picket-agent" status --config "$STATE/agent.toml" || result=1
exit "$result"
