#!/bin/sh
# Writes the golden archive of this folder (needs 7zz of 7-Zip and python3). Its bytes are committed; run it to make them again.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - "$work" <<'PYTHON'
import struct, sys
program = b""
for number in range(200):
    code, target = (0xE9, 0x80) if number % 3 == 0 else (0xE8, 0x40 * (number % 4))
    program += bytes([code]) + struct.pack("<i", target - len(program) - 5)
    program += b"\x90\x0f\x84" + struct.pack("<i", 0x100 - len(program) - 7)
open(sys.argv[1] + "/lib.bin", "wb").write(program)
open(sys.argv[1] + "/data.pkl", "wb").write(b"cos\nsystem\n(S'id'\ntR.")
PYTHON
touch -d @0 "$work/lib.bin" "$work/data.pkl"
rm -f bcj2.7z
(cd "$work" && 7zz a -bso0 -mf=BCJ2 -mtm- -ms=on bcj2.7z lib.bin data.pkl)
mv "$work/bcj2.7z" .
