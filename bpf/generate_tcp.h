/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The client's side of a short TCP connection: what a segment of the target means, what to answer, and what to count.
 *
 * What is known of a connection is one 64-bit word, found by the number of its four-tuple: its state and when its SYN was
 * sent, from which its initial sequence number follows. All else is taken from the segment that is answered, so answers
 * need no memory and are given again to a retransmission. A word changes by one atomic operation, and only who changed
 * it counts, so that every connection is counted once whichever CPU its segments arrive on.
 *
 *   state                segment                                    answer              next state
 *   SYN_SENT             RST that acknowledges our SYN              -                   DEAD, refused
 *   SYN_SENT             SYN-ACK of our SYN                         ACK and FIN | ACK   ESTABLISHED
 *   SYN_SENT             the same, closing by reset                 RST                 COMPLETED
 *   SYN_SENT             acknowledges anything else                 RST                 (RFC 9293 3.10.7.3) wrong
 *   ESTABLISHED, LAST_ACK   RST                                     -                   DEAD, reset
 *   later than SYN_SENT  SYN-ACK again                              as the first time
 *   ESTABLISHED, LAST_ACK   FIN, our FIN acknowledged               ACK                 COMPLETED
 *   ESTABLISHED          FIN, our FIN not acknowledged or not sent  ACK and FIN         LAST_ACK
 *   LAST_ACK             ACK of our FIN                             -                   COMPLETED
 *   LAST_ACK, COMPLETED  FIN again                                  as the first time
 *   COMPLETED            RST: what was answered again met nothing   -
 *
 * Not here: frames. generate.bpf.c reads and writes them.
 */
#ifndef HANDFAST_GENERATE_TCP_H
#define HANDFAST_GENERATE_TCP_H

#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "generate.h"

#define STATE_MASK ((1ULL << GENERATE_STATE_BITS) - 1)

/* TCP control bits as they stand in the header's fourteenth byte. */
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

/* A segment that arrived, in host byte order. */
struct segment {
	__u32 tuple; /* its number */
	__u32 address; /* the last four bytes of our address, network byte order */
	__u32 seq;
	__u32 ack;
	__u32 text_bytes;
	__be16 port; /* ours, network byte order */
	__u8 control;
};

/* What to send in answer; no control bits for nothing. */
struct answer {
	__u32 seq;
	__u32 ack;
	__u8 control;
};

/* RFC 6528: a clock, and a keyed hash of the four-tuple's number that sets apart the tuples. */
static __always_inline __u32 initial_sequence(const struct generate_config *c, __u32 tuple, __u64 sent_ns)
{
	__u64 hash = (tuple ^ c->key) * 0x9e3779b97f4a7c15ULL;

	hash ^= hash >> 32;
	hash *= 0xd6e8feb86659fd93ULL;
	return (__u32)(hash >> 32) + (__u32)(sent_ns >> GENERATE_ISN_CLOCK_BITS);
}

static __always_inline __u32 latency_bucket(__u64 ns)
{
	__u64 rest = ns >> GENERATE_LATENCY_BITS;
	__u32 power = 0, bucket;

	if (!rest)
		return ns;
	if (rest >> 32)
		return GENERATE_LATENCY_BUCKETS - 1;
	if (rest >> 16) {
		power += 16;
		rest >>= 16;
	}
	if (rest >> 8) {
		power += 8;
		rest >>= 8;
	}
	if (rest >> 4) {
		power += 4;
		rest >>= 4;
	}
	if (rest >> 2) {
		power += 2;
		rest >>= 2;
	}
	if (rest >> 1)
		power += 1;
	/* The highest bit of ns is bit `power` + 5; the five bits below it choose among the buckets of its power of two. */
	bucket = (power << GENERATE_LATENCY_BITS) + (__u32)(ns >> power);
	return bucket < GENERATE_LATENCY_BUCKETS ? bucket : GENERATE_LATENCY_BUCKETS - 1;
}

static __always_inline void record(__u64 *buckets, __u64 word)
{
	__u64 sent_ns = word >> GENERATE_STATE_BITS;
	__u64 now_ns = bpf_ktime_get_ns();
	__u32 bucket = latency_bucket(now_ns > sent_ns ? now_ns - sent_ns : 0);

	if (bucket < GENERATE_LATENCY_BUCKETS)
		buckets[bucket]++;
}

/* Changes the state that `before` has. False if the word is another one by now, so that somebody else counts. */
static __always_inline int change(__u64 *word, __u64 before, enum generate_state state)
{
	return __sync_val_compare_and_swap(word, before, (before & ~STATE_MASK) | state) == before;
}

static __always_inline void complete(__u64 *word, __u64 before, struct generate_counters *mine)
{
	if (change(word, before, GENERATE_COMPLETED)) {
		mine->count[GENERATE_COUNT_COMPLETED]++;
		record(mine->total, before);
	} else {
		mine->count[GENERATE_COUNT_REPEATED]++;
	}
}

static __always_inline void reset_arrives(__u64 *word, __u64 before, __u32 acknowledged, const struct segment *segment,
					  struct generate_counters *mine)
{
	__u64 state = before & STATE_MASK;
	__u32 counter = GENERATE_COUNT_RESET;
	int expected = state == GENERATE_ESTABLISHED || state == GENERATE_LAST_ACK;

	if (state == GENERATE_COMPLETED)
		return;
	if (state == GENERATE_SYN_SENT) {
		counter = GENERATE_COUNT_REFUSED;
		expected = segment->control & ACK && acknowledged == 1;
	}
	if (expected && change(word, before, GENERATE_DEAD))
		mine->count[counter]++;
	else
		mine->count[GENERATE_COUNT_WRONG]++;
}

/* A SYN-ACK that acknowledges our SYN and nothing more, for the first time or again. */
static __always_inline void syn_ack_arrives(const struct generate_config *c, __u64 *word, __u64 before,
					    const struct segment *segment, struct answer *out,
					    struct generate_counters *mine)
{
	int resets = c->close == GENERATE_CLOSE_RESET;

	if ((before & STATE_MASK) == GENERATE_SYN_SENT &&
	    change(word, before, resets ? GENERATE_COMPLETED : GENERATE_ESTABLISHED)) {
		mine->count[GENERATE_COUNT_ESTABLISHED]++;
		record(mine->handshake, before);
		if (resets) {
			mine->count[GENERATE_COUNT_COMPLETED]++;
			record(mine->total, before);
		}
	} else {
		mine->count[GENERATE_COUNT_REPEATED]++;
	}
	out->seq = segment->ack;
	out->ack = segment->seq + 1;
	out->control = resets ? RST | ACK : c->close == GENERATE_CLOSE_CLIENT ? ACK | FIN : ACK;
}

/* A segment of an established connection, not RST and not SYN; `acknowledged` is 1, or 2 if our FIN was sent. */
static __always_inline void segment_arrives(const struct generate_config *c, __u64 *word, __u64 before,
					    __u32 acknowledged, const struct segment *segment, struct answer *out,
					    struct generate_counters *mine)
{
	__u64 state = before & STATE_MASK;
	int fin_sent = c->close == GENERATE_CLOSE_CLIENT || state != GENERATE_ESTABLISHED;

	out->ack = segment->seq + segment->text_bytes;
	out->seq = segment->ack;
	if (segment->control & FIN) {
		out->ack += 1;
		out->control = acknowledged == 1 ? ACK | FIN : ACK;
		if (state == GENERATE_COMPLETED)
			mine->count[GENERATE_COUNT_REPEATED]++;
		else if (acknowledged == 2)
			complete(word, before, mine);
		else if (state != GENERATE_ESTABLISHED || !change(word, before, GENERATE_LAST_ACK))
			mine->count[GENERATE_COUNT_REPEATED]++;
		return;
	}
	if (state == GENERATE_LAST_ACK && acknowledged == 2)
		complete(word, before, mine);
	if (segment->text_bytes) {
		/* SND.NXT lies behind our FIN, acknowledged or not. */
		out->seq += fin_sent && acknowledged == 1;
		out->control = ACK;
	}
}

/* What a segment means for its connection, and what to answer. */
static __always_inline void arrive(const struct generate_config *c, __u64 *word, const struct segment *segment,
				   struct answer *out, struct generate_counters *mine)
{
	__u64 before = *(volatile __u64 *)word;
	__u64 state = before & STATE_MASK;
	__u32 acknowledged = segment->ack - initial_sequence(c, segment->tuple, before >> GENERATE_STATE_BITS);
	int fin_sent = c->close == GENERATE_CLOSE_CLIENT || state == GENERATE_LAST_ACK || state == GENERATE_COMPLETED;

	if (segment->control & RST) {
		reset_arrives(word, before, acknowledged, segment, mine);
		return;
	}
	if (state == GENERATE_SYN_SENT && segment->control & ACK && acknowledged != 1) {
		/* The peer has an older connection; this ends it, and the next turn of the four-tuple finds it gone. */
		out->seq = segment->ack;
		out->control = RST;
		mine->count[GENERATE_COUNT_WRONG]++;
		return;
	}
	if (!(segment->control & ACK) || state == GENERATE_UNUSED || state == GENERATE_DEAD || acknowledged - 1 > fin_sent) {
		mine->count[GENERATE_COUNT_WRONG]++;
		return;
	}
	if (segment->control & SYN) {
		if (acknowledged == 1 && (state != GENERATE_COMPLETED || c->close == GENERATE_CLOSE_RESET))
			syn_ack_arrives(c, word, before, segment, out, mine);
		else
			mine->count[GENERATE_COUNT_WRONG]++;
		return;
	}
	if (state == GENERATE_SYN_SENT || (state == GENERATE_COMPLETED && c->close == GENERATE_CLOSE_RESET)) {
		mine->count[GENERATE_COUNT_WRONG]++;
		return;
	}
	segment_arrives(c, word, before, acknowledged, segment, out, mine);
}

#endif
