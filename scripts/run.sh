#!/usr/bin/env bash
# Starts the server and the agent of one state folder, as root; stays in front until Ctrl-C, or returns once healthy (DETACH=1).
# `run.sh check` only says whether they run already (exit status 1).
. "$(dirname "$0")/lib.sh"
[[ $EUID -eq 0 ]] || die "run.sh needs root" "use: make up"
umask 077
export PICKET_CONFIG=$STATE/picketctl.toml
CTL=$BIN/picketctl

check() {
  local agent=0 server=0
  alive "$STATE/run/picket-agent.pid" picket-agent && agent=1
  alive "$STATE/run/picket-server.pid" picket-server && server=1
  ((agent + server)) || return 0
  if ((agent && server)) && [[ -n ${DETACH:-} && -e $STATE/run/ready ]]; then
    say "already running with state $STATE (make status, make down)"
    exit 0
  fi
  die "already running with state $STATE" "see it: make status" "stop it: make down" "a second one beside it: make up PICKET_STATE=/another/folder"
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  local port
  for ((port = $1; port < $1 + 200; port++)); do
    if ! port_taken "$port" && [[ " ${chosen[*]} " != *" $port "* ]]; then
      chosen+=("$port")
      FREE=$port
      return
    fi
  done
  die "no free port between $1 and $((port - 1))"
}

# Ports are kept in the state folder: an enrolled agent knows its server by them.
choose_ports() {
  local file=$STATE/ports name wanted
  declare -gA PORT=([agents]=9443 [api]=8443 [metrics]=9464)
  chosen=()
  if [[ -r $file ]]; then while read -r name wanted; do PORT[$name]=$wanted; done <"$file"; fi
  for name in agents api metrics; do
    wanted=${PORT[$name]}
    free_port "$wanted"
    [[ $FREE == "$wanted" ]] && continue
    note "port $wanted ($name) is taken by another program: using $FREE"
    if [[ -e $STATE/server.toml ]]; then sed -i "s/127\.0\.0\.1:$wanted\b/127.0.0.1:$FREE/" "$STATE/server.toml" "$STATE/agent.toml"; fi
    PORT[$name]=$FREE
  done
  for name in agents api metrics; do echo "$name ${PORT[$name]}"; done >"$file"
}

write_configs() {
  [[ -e $STATE/server.toml ]] || cat >"$STATE/server.toml" <<TOML
# Made by \`make up\` once and kept; every other key has its default (docs/configuration.md).
state_dir = "server"

# Loopback only. To enrol other hosts, listen on 0.0.0.0 and put this host's name into [tls] names.
[agents]
listen = "127.0.0.1:${PORT[agents]}"

[api]
listen = "127.0.0.1:${PORT[api]}"

[metrics]
listen = "127.0.0.1:${PORT[metrics]}"

[log]
filter = "info,buoyant_kernel=warn,deltalake_core=warn"
TOML
  [[ -e $STATE/agent.toml ]] || cat >"$STATE/agent.toml" <<TOML
# Made by \`make up\` once and kept; every other key has its default (docs/configuration.md).
state_dir = "$STATE/agent"
run_dir = "$STATE/run/agent"

[server]
url = "https://127.0.0.1:${PORT[agents]}"

# Of this state folder alone: another agent on this host keeps its own.
[sensor]
pin_dir = "/sys/fs/bpf/picket-$(cksum <<<"$STATE" | cut -d ' ' -f 1)"
TOML
}

# start NAME CONFIG: in a session of its own, so that Ctrl-C reaches this script alone and the agent can be stopped first.
start() {
  local name=$1 log=$STATE/log/$1.log
  if [[ -s $log ]]; then mv "$log" "$log.1"; fi
  setsid "$BIN/$name" run --config "$2" </dev/null >"$log" 2>&1 9>&- &
  local pid=$! tenths
  echo "$pid" >"$STATE/run/$name.pid"
  # Until the shell's child has become the program, nobody could tell that it is ours.
  for ((tenths = 0; tenths < 50; tenths++)); do
    if alive "$STATE/run/$name.pid" "$name" || ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.1
  done
}

# failed NAME WHAT [TO DO…]: the end of its log, then stop what runs.
failed() {
  local name=$1 what=$2
  shift 2
  say "the last lines of $STATE/log/$name.log:"
  tail -n 20 "$STATE/log/$name.log" >&2 || true
  stop_all
  die "$what" "$@"
}

stop_all() {
  stop_one picket-agent 15 || true
  stop_one picket-server 30 || true
}

start_server() {
  say "starting the server"
  start picket-server "$STATE/server.toml"
  local tenths
  for ((tenths = 0; tenths < 600; tenths++)); do
    alive "$STATE/run/picket-server.pid" picket-server || failed picket-server "the server did not start" "its state is in $STATE/server"
    if port_taken "${PORT[api]}"; then break; fi
    sleep 0.1
  done
  # The scripts' own sign-in; a person gets another one below.
  if ! "$CTL" whoami >/dev/null 2>&1; then
    "$BIN/picket-server" sign-in --config "$STATE/server.toml" 2>>"$STATE/log/picket-server.log" | "$CTL" login "https://127.0.0.1:${PORT[api]}" --code - --name up --label "make up" 2>>"$STATE/log/picket-server.log" ||
      failed picket-server "the server does not answer on https://127.0.0.1:${PORT[api]} after $((tenths / 10)) s"
  fi
}

start_agent() {
  if [[ ! -e $STATE/enrolled ]]; then
    say "enrolling this host"
    "$BIN/picket-server" enrol-token --config "$STATE/server.toml" --ttl 10m --label "make up" >"$STATE/token" 2>>"$STATE/log/picket-server.log" ||
      failed picket-server "the server gave no enrolment token"
    "$BIN/picket-agent" enroll --server "https://127.0.0.1:${PORT[agents]}" --token-file "$STATE/token" --config "$STATE/agent.toml" >&2 || failed picket-server "the agent could not enrol" "see the messages above"
    rm -f "$STATE/token"
    touch "$STATE/enrolled"
  fi
  say "starting the agent"
  start picket-agent "$STATE/agent.toml"
}

# The proof that it works: a file that this script creates is found by a search on the server.
wait_for_events() {
  say "waiting until this host's events can be searched"
  local name round
  name=hello-$$.safetensors
  mkdir -p "$STATE/hello"
  for ((round = 0; round < 60; round++)); do
    alive "$STATE/run/picket-agent.pid" picket-agent || failed picket-agent "the agent stopped" "its last lines are above"
    echo hello >"$STATE/hello/$name"
    sleep 1
    if [[ -n $("$CTL" events search "file_path:*$name" --since 5m --limit 1 --format jsonl 2>/dev/null) ]]; then
      rm -rf "$STATE/hello"
      return
    fi
  done
  rm -rf "$STATE/hello"
  "$BIN/picket-agent" status --config "$STATE/agent.toml" >&2 || true
  failed picket-agent "no event of this host reached the server within 60 s" "which probes are attached is above" "the server's log: $STATE/log/picket-server.log"
}

announce() {
  local code ctl=${CTL/#$PWD\//}
  code=$("$BIN/picket-server" sign-in --config "$STATE/server.toml" 2>/dev/null)
  cat <<WORDS

${BOLD}Picket is up.${PLAIN}  Events of this host reach the server.

  API    https://127.0.0.1:${PORT[api]}
  state  $STATE   (logs in log/)

Sign in as admin; the code works once, within an hour:
  echo '$code' | $ctl login https://127.0.0.1:${PORT[api]} --code -

Then try:
  $ctl hosts
  $ctl events tail
  $ctl events search 'class:file *.safetensors' --since 1h

WORDS
}

stay() {
  trap 'trap "" INT TERM HUP; say "stopping"; stop_all; exit 0' INT TERM HUP
  note "Ctrl-C stops both"
  local name
  while sleep 0.5; do
    for name in picket-agent picket-server; do
      alive "$STATE/run/$name.pid" "$name" || failed "$name" "$name ended by itself"
    done
  done
}

main() {
  mkdir -p "$STATE/run" "$STATE/log"
  check
  exec 9>"$STATE/run/lock"
  flock -n 9 || die "another \`make up\` is at work on $STATE" "wait for it"
  [[ ${1:-} == check ]] && exit 0
  trap 'trap "" INT TERM HUP; say "stopping"; stop_all; exit 130' INT TERM HUP
  rm -f "$STATE/run/ready"
  choose_ports
  write_configs
  start_server
  start_agent
  wait_for_events
  touch "$STATE/run/ready"
  announce
  if [[ -n ${DETACH:-} ]]; then exit 0; fi
  stay
}

main "$@"
