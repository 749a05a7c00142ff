#!/usr/bin/env bash
# The probe tests inside guests with Debian's kernels (tests/kernel/kernels), and the table of docs/kernels.md from what came out. Without
# hardware virtualisation a guest is emulated, some minutes each: this is no part of `make test` then.
# ONLY=name: that kernel alone. PICKET_EMULATE=1: run although /dev/kvm cannot be used.
. "$(dirname "$0")/lib.sh"
need_cargo
cd "$REPO"
for tool in qemu-system-x86_64 dpkg apt-get python3; do
  command -v "$tool" >/dev/null || { note "SKIPPED kernel matrix: $tool is not installed (apt-get install qemu-system-x86 python3)"; exit 0; }
done
# /dev/kvm alone says little: nested and para-virtual hosts have one that cannot run an unmodified kernel.
if [[ -w /dev/kvm && ${PICKET_EMULATE:-} != 1 ]] && grep -qE '\b(vmx|svm)\b' /proc/cpuinfo; then
  export PICKET_KVM=1
  limit=600
elif [[ ${PICKET_EMULATE:-} == 1 || -n ${ONLY:-} ]]; then
  limit=3600
else
  note "SKIPPED kernel matrix: no hardware virtualisation here; PICKET_EMULATE=1 runs it emulated, some minutes a kernel"
  exit 0
fi

say "building the probe tests"
mapfile -t programs < <(cargo test --workspace --locked --no-run --message-format=json --test actions --test process --test file --test network --test losses --test canary --test datagram --test endpoint --test traffic --test visibility 2>/dev/null |
  python3 -c 'import json,sys
for line in sys.stdin:
    one = json.loads(line)
    if one.get("reason") == "compiler-artifact" and one.get("executable") and one["target"]["kind"] == ["test"]: print(one["executable"])')
probes=$TARGET/debug/examples/probes
cargo build --workspace --locked --example probes 2>/dev/null || die "the list of probes was not built" "cargo build --workspace --example probes says why"
((${#programs[@]} > 0)) || die "no test programs were built" "cargo test --workspace --no-run says why"
programs+=("$probes")

results=$TARGET/kernels
mkdir -p "$results"
failed=0
while read -r name what pattern words; do
  [[ -z $name || $name == \#* || (-n ${ONLY:-} && $name != "$ONLY") ]] && continue
  say "kernel $name"
  if ! folder=$(tests/kernel/fetch.sh "$pattern"); then
    note "SKIPPED kernel $name: it cannot be obtained"
    continue
  fi
  run=("${programs[@]}")
  if [[ $what == probes ]]; then run=("$probes"); fi
  tests/kernel/guest.sh "$folder" "$words" "$limit" "${run[@]}" >"$results/$name" || true
  grep -aE '^GUEST |FAILED$' "$results/$name" | sed 's/^/    /' >&2 || true
  grep -q '^GUEST end' "$results/$name" && ! grep -q 'FAILED$' "$results/$name" || failed=1
done <tests/kernel/kernels
python3 tests/kernel/table.py "$results" docs/kernels.md
((failed == 0)) || die "a test failed in a guest" "what each guest said is in $results"
