#!/usr/bin/env bash
# `make down`: stop the agent, then the server, each by the pid that `make up` wrote down and only if it still is that program.
. "$(dirname "$0")/lib.sh"
[[ -d $STATE ]] || die "nothing to stop: there is no state folder $STATE"
if [[ $EUID -ne 0 ]]; then
  need_root "stopping the agent"
  exec "${SUDO[@]}" env "PICKET_STATE=$STATE" "$REPO/scripts/down.sh"
fi
stopped=0
for name in picket-agent picket-server; do
  if stop_one "$name" 30; then
    say "$name stopped"
    stopped=1
  fi
done
((stopped)) || say "nothing was running with state $STATE"
