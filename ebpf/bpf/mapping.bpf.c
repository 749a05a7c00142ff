// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Memory made executable that is no installed program: anonymous, of a file without a name (memfd, deleted), or of a file below a directory that
 * everybody may write to (/tmp, /var/tmp, /dev/shm and their like, in containers too, whatever their names).
 *
 * Hooks: mmap, mprotect and pkey_mprotect (fexit/__x64_sys_*, or behind the dispatcher); a call without PROT_EXEC costs one test. The mapped file is the kernel's: from
 * the descriptor, or from the area found. Rejected: a list of names (a container's /tmp is another directory); tp_btf/exit_mmap (no such); lsm/mmap_file.
 *
 * Kernels: 5.15 and later with BTF; mprotect needs bpf_find_vma of 5.17.
 *
 * Cannot see: 32-bit callers where the functions are hooked, and their old mmap; an area that another thread moves at the same time (counted); a file deeper than MAP_WALK_MAX directories counts as in a
 * writable place. Compilers at run time make executable memory all the time: one record a process (and file) an hour, so that a second area of
 * a process that already has one is not told.
 *
 * What an unprivileged process can do: map; a record a process and file.
 */
#include "mapping.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

CALL_FUNCTION(mmap, map__mmap)
CALL_FUNCTION(mprotect, map__mprotect)
CALL_FUNCTION(pkey_mprotect, map__mprotect)
CALL_DISPATCHED(sys_exit_mmap, map__mmap)
CALL_DISPATCHED(sys_exit_mprotect, map__mprotect)
