#!/usr/bin/env bash
# guest.sh KERNEL_FOLDER COMMAND_LINE SECONDS PROGRAM…: boots the kernel and runs the test programs, and `probes`, inside, as root; prints what they print.
# The guest is a file system in memory with this host's own programs: nothing is downloaded for it, and it goes with it.
set -euo pipefail
kernel=$1 words=$2 seconds=$3
shift 3
image=$(find "$kernel" -name 'vmlinuz*' -type f | head -n 1)
[[ -n $image ]] || { echo "no kernel image in $kernel" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,dev,proc,run,sys,tmp,etc,root,tests,var/tmp,usr/lib,usr/bin}
ln -s bin "$root/sbin"

libraries() {
  { ldd "$1" 2>/dev/null | grep -oE '/[^ )]+' || true; } | while read -r library; do
    [[ -e $root$library ]] || { mkdir -p "$root$(dirname "$library")" && cp -L "$library" "$root$library"; } || true
  done
}
program() { # its path there is the one it has here
  local from
  from=$(readlink -f "$1")
  mkdir -p "$root$(dirname "$1")"
  cp -L "$from" "$root$1"
  libraries "$from"
}
for name in cat tac true false sleep ls rm cp mv ln mkdir mktemp mount umount mknod head tail grep sed cut tr wc chmod chown dd truncate touch env id uname date stat timeout kill seq sync chroot; do
  program "$(type -P "$name" | sed 's,^/bin/,/usr/bin/,')"
  ln -sf "/usr/bin/$name" "$root/bin/$name" 2>/dev/null || true
done
for path in /usr/bin/setsid /usr/bin/unshare /usr/bin/nsenter /usr/sbin/ip /usr/bin/python3 /usr/bin/dash /usr/bin/bash; do
  if [[ -x $path ]]; then program "$path"; fi
done
ln -s /usr/bin/dash "$root/bin/sh"
ln -sf /usr/bin/unshare "$root/bin/unshare"
ln -sf /usr/bin/dash "$root/usr/bin/sh"
ln -sf /usr/bin/bash "$root/bin/bash"
ln -sf /usr/sbin/ip "$root/bin/ip"
# Python without its tests and tools.
python=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
mkdir -p "$root$python"
tar -C "$python" --exclude test --exclude tests --exclude idlelib --exclude ensurepip --exclude lib2to3 --exclude 'config-*' --exclude pydoc_data --exclude tkinter --exclude dist-packages --exclude '*.opt-*.pyc' -cf - . | tar -C "$root$python" -xf -
for module in "$python"/lib-dynload/*.so; do libraries "$module"; done
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"

number=0
for each in "$@"; do
  number=$((number + 1))
  cp "$each" "$root/tests/$number-$(basename "$each" | sed 's/-[0-9a-f]*$//')"
  libraries "$each"
done
# A module without hardware, for the test that loads one; and the file system of layers, where it is no part of the kernel.
for name in dummy overlay; do
  module=$(find "$kernel" -name "$name.ko*" | head -n 1)
  case $module in
  *.xz) xz -dc "$module" >"$root/tests/$name.ko" ;;
  *.zst) zstd -qdc "$module" >"$root/tests/$name.ko" ;;
  *.ko) cp "$module" "$root/tests/$name.ko" ;;
  esac
done
# The compiler's part of a test's work.
clang -O1 -o "$root/tests/ring-program" "$(dirname "$0")/../../ebpf/tests/ring.c"
libraries "$root/tests/ring-program"

chmod 755 "$root"
# From the kernel's first file system, which cannot be left by pivot_root, into one like a host's.
cat >"$root/init" <<'INIT'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/bin
mkdir -p /new && mount -t tmpfs -o mode=755 new /new && cd /new
for each in /*; do [ "$each" = /new ] || cp -a "$each" /new/; done
mount --move . / && exec chroot . /start
INIT
cat >"$root/start" <<'INIT'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/bin HOME=/root PICKET_TEST_PATIENCE_SECONDS=90 PICKET_TEST_MODULE=/tests/dummy.ko PICKET_TEST_RING=/tests/ring-program
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts; mount -t tmpfs -o mode=1777 shm /dev/shm; mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup; mount -t securityfs security /sys/kernel/security
ip link set lo up
python3 -c 'import ctypes, os; ctypes.CDLL(None).syscall(313, os.open("/tests/overlay.ko", os.O_RDONLY), b"", 0)' 2>/dev/null
echo "GUEST kernel=$(uname -r) lsm=$(cat /sys/kernel/security/lsm)"
for each in $(ls /tests | grep -v -e '\.ko$' -e '-probes$' -e ring-program); do
  echo "GUEST program=${each#*-}"
  # A program of its own session: a test that loses its way ends with it.
  timeout -k 5 600 /tests/$each --test-threads=1 --show-output 2>&1 | grep -aE '^test |^PROBE |^SKIPPED |panicked|what was waited|^ +(left|right):|test result' | cut -c1-400
done
/tests/$(ls /tests | grep -- '-probes$') 2>&1 | grep -a '^PROBE '
echo "GUEST end"
sync
echo o >/proc/sysrq-trigger
sleep 10
INIT
chmod +x "$root/init" "$root/start"
python3 "$(dirname "$0")/pack.py" "$root" >"$work/image"

accelerator=(-accel "tcg,thread=multi" -cpu max)
[[ ${PICKET_KVM:-} == 1 ]] && accelerator=(-accel kvm -cpu host)
log=$work/log
: >"$log"
timeout -k 5 "$seconds" qemu-system-x86_64 "${accelerator[@]}" -smp 2 -m 2048 -display none -no-reboot -nodefaults -serial "file:$log" -kernel "$image" -initrd "$work/image" \
  -append "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on $words" </dev/null >&2 || true
tr -d '\r' <"$log" | grep -aE '^GUEST |^test |^PROBE |^SKIPPED |panicked|what was waited|left:|right:|Kernel panic' || true
grep -qa '^GUEST end' "$log" || { echo "GUEST unfinished: the guest did not come to its end in $seconds s" && tail -n 3 "$log" | tr -d '\r'; }
