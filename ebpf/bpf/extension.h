/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Does a name end in a listed extension? Included by watch.h, whose configuration and view of a dentry it needs. */
#pragma once

struct extension {
	u64 low, high; /* the last 16 bytes of a name, zero before the dot, lower case */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct extension);
	__type(value, u32);
} picket_extensions SEC(".maps");

/* Lowest set high bit of a byte that equals '.', for each byte of a word. */
static __always_inline u64 extension__dots(u64 word)
{
	const u64 ones = 0x0101010101010101ULL, lows = 0x7f7f7f7f7f7f7f7fULL;
	u64 x = word ^ (ones * '.');

	/* Exact for every byte, unlike the shorter form: no carry crosses a byte. */
	return ~(((x & lows) + lows) | x | lows);
}

/* Keeps the bytes from the last dot on. */
static __always_inline u64 extension__from_last(u64 word, u64 dots)
{
	/* Smear to the right: every bit at and below the highest set one, then everything from that byte up. */
	dots |= dots >> 8;
	dots |= dots >> 16;
	dots |= dots >> 32;
	return word & ~((dots >> 8 >> 7) * 0xff);
}

/* True where the name ends in a listed extension. The last 16 bytes decide, letters in either case. */
static __always_inline bool extension__listed(struct watch_config *config, struct dentry_view *name)
{
	const u64 lower = 0x2020202020202020ULL;
	u64 high = name->high | lower, low = name->low | lower;
	u32 ending = ((high >> 48 & 0xff) * 31 + (high >> 56)) & (ENDINGS - 1);
	struct extension key = {};
	u64 dots;

	if (!(config->endings[ending >> 6] >> (ending & 63) & 1))
		return false;
	dots = extension__dots(name->high);
	if (dots) {
		key.high = extension__from_last(high, dots);
	} else {
		dots = extension__dots(name->low);
		if (!dots)
			return false;
		key.low = extension__from_last(low, dots);
		key.high = high;
	}
	return bpf_map_lookup_elem(&picket_extensions, &key) != NULL;
}
