/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the programs have in common that make frames: a schedule that they keep, a template that they copy, and the Internet
 * checksum. The including file has included linux/bpf.h and bpf/bpf_helpers.h.
 *
 * Not here: maps, and what is written into a frame.
 */
#ifndef HANDFAST_SEND_H
#define HANDFAST_SEND_H

#include <linux/types.h>

#include "generate.h"

/* ---- numbers ---- */

/* A sum of words as they are in memory, as the value for a checksum field. */
static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return ~((sum >> 16) + (sum & 0xffff));
}

/* ---- settings ---- */

/* A configuration in read-only data. The loader changes the values that the compiler sees, so it must not see them. */
static __always_inline const void *hidden(const void *config)
{
	asm("" : "+r"(config));
	return config;
}

/* ---- templates ---- */

/*
 * Copies a whole template, since a page that is used again holds what its last user left in it. In words by hand: the
 * compiler does not know that a frame may be written at any alignment, and would go byte by byte.
 */
static __always_inline void copy(__u8 *to, const __u64 *from, __u32 bytes)
{
	__u32 at = 0;

#pragma unroll
	for (; at + 8 <= bytes; at += 8)
		*(__u64 *)(to + at) = from[at / 8];
	if (at + 4 <= bytes) {
		*(__u32 *)(to + at) = *(const __u32 *)((const __u8 *)from + at);
		at += 4;
	}
	if (at + 2 <= bytes)
		*(__u16 *)(to + at) = *(const __u16 *)((const __u8 *)from + at);
}

/* ---- the schedule ---- */

static __always_inline __u64 due_ns(const struct generate_schedule *plan, __u64 number)
{
	return plan->start_ns + (number * plan->interval >> GENERATE_INTERVAL_BITS);
}

/* True if a frame is to be sent now. */
static __always_inline int is_due(struct generate_schedule *plan, __u64 now_ns)
{
	if (plan->sent >= plan->limit)
		return 0;
	if (!plan->burst_left) {
		__u64 left = plan->limit - plan->sent;
		__u64 burst = plan->burst < left ? plan->burst : left;

		if (now_ns < due_ns(plan, plan->sent + burst - 1))
			return 0;
		plan->burst_left = burst;
	}
	return 1;
}

static __always_inline void count_sent(struct generate_schedule *plan, __u64 now_ns)
{
	if (now_ns > due_ns(plan, plan->sent) + GENERATE_LATE_NS)
		plan->late++;
	plan->burst_left--;
	plan->sent++;
}

#endif
