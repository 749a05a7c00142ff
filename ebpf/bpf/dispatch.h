/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of what the dispatcher jumps to, for the programs that jump on from there. */
#pragma once
#include "syscalls.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, u32);
	__type(value, u32);
} picket_on_exit SEC(".maps");
