"""replace_program.py LINK: loads a program that lets every packet pass and looks at none, and gives it to the link of that number."""
import ctypes
import os
import struct
import sys

BPF, PROG_LOAD, LINK_UPDATE, LINK_GET_FD_BY_ID = 321, 5, 29, 30
CGROUP_SKB, EGRESS = 8, 1
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    answer = libc.syscall(BPF, command, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


# r0 = 1; exit
code = ctypes.create_string_buffer(struct.pack("<BBhi", 0xB7, 0, 0, 1) + struct.pack("<BBhi", 0x95, 0, 0, 0), 16)
text = ctypes.create_string_buffer(b"GPL")
program = bpf(PROG_LOAD, struct.pack("<IIQQIIQII16sII", CGROUP_SKB, 2, ctypes.addressof(code), ctypes.addressof(text), 0, 0, 0, 0, 0, b"stranger", 0, EGRESS))
link = bpf(LINK_GET_FD_BY_ID, struct.pack("<III", int(sys.argv[1]), 0, 0))
bpf(LINK_UPDATE, struct.pack("<IIII", link, program, 0, 0))
