/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the generating program and its loader agree on: the configuration, the word that is kept of each connection,
 * the counters and the latency buckets.
 *
 * src/blast/xdp/contract.rs says the same in Rust; a test there reads this file and fails when the two differ, so the
 * notation is kept to what that test understands: `#define NAME decimal`, enums, and structs of plain fields.
 * What is not here: map definitions and any logic (generate.bpf.c).
 */
#ifndef HANDFAST_GENERATE_H
#define HANDFAST_GENERATE_H

#include <linux/types.h>

/* Bytes of the frames that are sent: Ethernet, IP and TCP, and for a SYN four bytes of MSS option. */
#define GENERATE_SYN_BYTES_IPV4 58
#define GENERATE_SYN_BYTES_IPV6 78
#define GENERATE_ANSWER_BYTES_IPV4 54
#define GENERATE_ANSWER_BYTES_IPV6 74
/* Room for the longest of them. */
#define GENERATE_FRAME_BYTES 80

#define GENERATE_FAMILY_IPV4 4
#define GENERATE_FAMILY_IPV6 6

/* How our side ends a connection: FIN with the ACK of the handshake, FIN after the peer's FIN, or RST at once. */
#define GENERATE_CLOSE_CLIENT 0
#define GENERATE_CLOSE_SERVER 1
#define GENERATE_CLOSE_RESET 2

/*
 * A connection's word: its state in the lowest bits, above them the time in ns at which its SYN was sent. The time tells
 * one use of the four-tuple from the next, and the initial sequence number follows from it.
 */
#define GENERATE_STATE_BITS 3
/* Initial sequence numbers grow by one every 2^12 ns (4.096 us; RFC 6528 3 wants about 4 us). */
#define GENERATE_ISN_CLOCK_BITS 12

enum generate_state {
	GENERATE_UNUSED,
	GENERATE_SYN_SENT,
	GENERATE_ESTABLISHED, /* the SYN-ACK was answered, with our FIN if we close first */
	GENERATE_LAST_ACK, /* the peer's FIN was answered, our FIN is not acknowledged yet */
	GENERATE_COMPLETED,
	GENERATE_DEAD, /* refused or reset */
	GENERATE_STATES /* how many there are */
};

/* The unit of generate_schedule's interval is 2^-16 ns. */
#define GENERATE_INTERVAL_BITS 16
#define GENERATE_LATE_NS 1000000

/*
 * Latencies are counted in buckets: below 2^5 ns one a nanosecond, then 2^5 for each power of two, up to 2^37 ns (137 s);
 * what took longer is in the last one.
 */
#define GENERATE_LATENCY_BITS 5
#define GENERATE_LATENCY_BUCKETS 1056

/*
 * Indexes into the counters. attempted = completed + refused + reset + overtaken + those under way, always.
 */
enum generate_counter {
	GENERATE_COUNT_ATTEMPTED, /* SYNs handed to the interface */
	GENERATE_COUNT_ESTABLISHED,
	GENERATE_COUNT_COMPLETED,
	GENERATE_COUNT_REFUSED, /* RST instead of a SYN-ACK */
	GENERATE_COUNT_RESET, /* RST later */
	GENERATE_COUNT_OVERTAKEN, /* not finished when it was the four-tuple's turn again */
	GENERATE_COUNT_RECEIVED, /* frames from the target to one of our four-tuples */
	GENERATE_COUNT_ANSWERED, /* frames sent in answer */
	GENERATE_COUNT_REPEATED, /* the peer's retransmissions, answered again */
	GENERATE_COUNT_WRONG, /* frames that no connection of ours expects */
	GENERATE_COUNTERS /* how many there are */
};

/*
 * When connections are due: connection k at start + k * interval, and those of a burst when its last one is. Written by the
 * loader before a run; the program keeps the numbers of what it sent. Until a schedule is written, all are due.
 */
struct generate_schedule {
	__u64 start_ns;
	__u64 interval; /* in 2^-16 ns */
	__u64 limit; /* connections in all */
	__u64 burst; /* connections that are sent one right after the other, at least 1 */
	__u64 burst_left; /* those of the present burst that are not sent yet */
	__u64 sent;
	__u64 late; /* sent more than 1 ms after they were due */
};

/* The configuration, constant once the program is loaded. Addresses and frames are in network byte order. */
struct generate_config {
	__u64 key; /* of the hash in the initial sequence numbers */
	__u32 ifindex; /* the interface that SYNs leave by and answers arrive on */
	__u32 family;
	__u32 close;
	__u32 tuples; /* sources times ports */
	__u32 sources;
	__u32 ports;
	__u32 first_source; /* the last four bytes of the first source address, in host byte order */
	__u32 first_port; /* host byte order */
	__u32 source[4]; /* the first source address, IPv4 in the last word */
	__u32 target[4]; /* the target's address, IPv4 in the last word */
	__u32 target_port; /* network byte order */
	__u32 syn_ip_sum; /* one's complement sums of what is the same in every frame, as words in memory */
	__u32 syn_tcp_sum;
	__u32 answer_ip_sum;
	__u32 answer_tcp_sum;
	__u16 core; /* where answers are made, if frames are handed over to one core */
	__u16 hand_over; /* 1 if they are */
	__u64 syn[10]; /* frames with all that is the same in each of them, and zeros else; as bytes in memory */
	__u64 answer[10];
};

/* Everything that one CPU counts. */
struct generate_counters {
	__u64 count[10];
	__u64 handshake[1056]; /* from the SYN to the first SYN-ACK */
	__u64 total[1056]; /* from the SYN to the segment that completed the connection */
};

_Static_assert(sizeof(((struct generate_counters *)0)->count) == GENERATE_COUNTERS * 8, "one word a counter");
_Static_assert(sizeof(((struct generate_counters *)0)->total) == GENERATE_LATENCY_BUCKETS * 8, "one word a bucket");
_Static_assert(sizeof(((struct generate_config *)0)->syn) == GENERATE_FRAME_BYTES, "room for every frame");
_Static_assert(GENERATE_STATES <= 1 << GENERATE_STATE_BITS, "every state fits its bits");

#endif
