/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Who may talk to an endpoint: the prefix filter, and the limit of SYNs from one prefix.
 *
 * Both look at the source address, of frames for an endpoint only, and each only if the configuration word says that there
 * is something to look at. A source address may be forged, so neither stops a flood from forged ones; what they stop is who
 * answers, and who floods from his own addresses.
 *
 * A bucket of the SYN rate is one 64-bit word that all CPUs share: a prefix arrives on all of them at once, and a bucket a CPU
 * would let through the rate once for each. They add to it atomically; as for the look before it, each CPU may let one SYN
 * too many through, which needs no instruction that Linux 5.9 does not have. When there are more prefixes than buckets, the prefix that was not
 * seen for longest loses its bucket and starts with a full one when it comes back: the limit gets weaker, and nobody is
 * locked out. STEER_SYN_BUCKETS counts the buckets made, so more than there is room for says that this happened.
 *
 * Not here: connections. A denied prefix is denied those that it has, too.
 */
#ifndef HANDFAST_SOURCES_H
#define HANDFAST_SOURCES_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "contract.h"
#include "parse.h"

/* Which prefixes are allowed and denied: STEER_ALLOW or STEER_DENY. The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct steer_source);
	__type(value, __u8);
} prefixes SEC(".maps");

/* How many SYNs a prefix may send. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct steer_rate);
} rates SEC(".maps");

/* When the bucket of a prefix is full again, in ns of the monotonic clock. The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct steer_source);
	__type(value, __u64);
} buckets SEC(".maps");

/* True if the filter denies the source. */
static __always_inline int is_denied(const struct steer_config *settings, const struct parsed *packet)
{
	struct steer_source key = {
		.bits = STEER_SOURCE_BITS,
		.family = packet->version,
		.addr = { packet->src[0], packet->src[1], packet->src[2], packet->src[3] },
	};
	const __u8 *rule;

	if (!(settings->flags & STEER_FILTER))
		return 0;
	rule = bpf_map_lookup_elem(&prefixes, &key);
	return rule && *rule == STEER_DENY;
}

/* Takes a token from a bucket. False if there is none. */
static __always_inline int take_token(__u64 *bucket, const struct steer_rate *rate, __u64 now_ns)
{
	__u64 full_at = *(volatile __u64 *)bucket;

	if (full_at <= now_ns) {
		*(volatile __u64 *)bucket = now_ns + rate->interval_ns;
		return rate->interval_ns <= rate->depth_ns;
	}
	if (full_at - now_ns + rate->interval_ns > rate->depth_ns)
		return 0;
	__sync_fetch_and_add(bucket, rate->interval_ns);
	return 1;
}

/* True if a SYN is one too many from its prefix. */
static __always_inline int is_over_rate(struct steer_counters *mine, const struct parsed *packet)
{
	const struct steer_rate *rate;
	struct steer_source key = { .bits = STEER_SOURCE_BITS, .family = packet->version };
	__u64 *bucket, now_ns, full_at;
	const __u32 *mask;
	__u32 first = 0;

	rate = bpf_map_lookup_elem(&rates, &first);
	if (!rate)
		return 0;
	mask = packet->version == STEER_FAMILY_IPV4 ? rate->mask_v4 : rate->mask_v6;
	key.addr[0] = packet->src[0] & mask[0];
	key.addr[1] = packet->src[1] & mask[1];
	key.addr[2] = packet->src[2] & mask[2];
	key.addr[3] = packet->src[3] & mask[3];
	now_ns = bpf_ktime_get_ns();
	bucket = bpf_map_lookup_elem(&buckets, &key);
	if (bucket)
		return !take_token(bucket, rate, now_ns);
	full_at = now_ns + rate->interval_ns;
	/* Refused if another CPU has just made it, or if no other bucket can be given up for it. */
	if (bpf_map_update_elem(&buckets, &key, &full_at, BPF_NOEXIST))
		mine->count[STEER_SYN_UNLIMITED]++;
	else
		mine->count[STEER_SYN_BUCKETS]++;
	return 0;
}

#endif
