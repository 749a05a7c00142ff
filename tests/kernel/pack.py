"""pack.py ROOT: the folder as an initramfs (cpio, format newc) on standard output."""

import os
import stat
import sys


def entry(out, number, name, info, data):
    header = "070701" + "".join(
        f"{value:08x}"
        for value in (number, info.st_mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    )
    for part in (header.encode() + name + b"\0", data):
        out.write(part + bytes(-len(part) % 4))


def main(root):
    out, number = sys.stdout.buffer, 1
    # The root itself too: the kernel's own one is writable to everybody.
    entry(out, 0, b".", os.lstat(root), b"")
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            info = os.lstat(path)
            data = b""
            if stat.S_ISLNK(info.st_mode):
                data = os.readlink(path).encode()
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    data = file.read()
            entry(out, number, os.path.relpath(path, root).encode(), info, data)
            number += 1
    entry(out, 0, b"TRAILER!!!", os.stat_result((0,) * 10), b"")


main(sys.argv[1])
