/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The contract between the flooding program (flood.bpf.c) and its loader (src/flood): configuration, window, counters.
 *
 * src/flood/contract.rs mirrors everything here by hand; its tests read this file and fail when the two differ, so the
 * notation is kept to what that test understands: `#define NAME decimal`, enums, and structs of plain fields. The schedule
 * is that of generate.h.
 * What is not here: map definitions and any logic (flood.bpf.c).
 */
#ifndef HANDFAST_FLOOD_H
#define HANDFAST_FLOOD_H

#include <linux/types.h>

/* Room for the longest frame: Ethernet with a VLAN tag, IPv6 with a fragment header, TCP with 20 bytes of options. */
#define FLOOD_FRAME_BYTES 112

#define FLOOD_FAMILY_IPV4 4
#define FLOOD_FAMILY_IPV6 6

/* What stands in the TCP checksum field: nothing (the header is cut off before it), the right sum, a wrong one. */
#define FLOOD_CHECKSUM_NONE 0
#define FLOOD_CHECKSUM_RIGHT 1
#define FLOOD_CHECKSUM_WRONG 2

/* Instead of control bits: all eight are random. */
#define FLOOD_CONTROL_RANDOM 256

/*
 * The sequence number of frame k is (k + key) * FACTOR, its upper half then folded into the lower one by exclusive or, all
 * modulo 2^32: looks random, and an answer tells which frame it is for. INVERSE undoes FACTOR. The acknowledgment number of
 * a frame is the sequence number with the bits of DIFFERS turned over.
 */
#define FLOOD_SEQ_FACTOR 2654435769
#define FLOOD_SEQ_INVERSE 340573321
#define FLOOD_ACK_DIFFERS 1515870810

/* One bit for each of the last 2^25 frames: it was answered. */
#define FLOOD_WINDOW_FRAMES 33554432
#define FLOOD_WINDOW_WORDS 524288

/* Indexes into the counters: frames from the target to an address of the flood, each under one of the first four. */
enum flood_counter {
	FLOOD_COUNT_SYN_ACK,
	FLOOD_COUNT_RST,
	FLOOD_COUNT_CHALLENGE_ACK, /* ACK alone */
	FLOOD_COUNT_OTHER, /* any other segment, and what is not TCP, such as ICMP */
	FLOOD_COUNT_ANSWERED, /* frames of the flood that a SYN-ACK or RST came for, each once */
	FLOOD_COUNT_REPEATED, /* SYN-ACKs and RSTs for a frame that had been answered before */
	FLOOD_COUNT_FAILED, /* frames that could not be made: our own mistake */
	FLOOD_COUNTERS /* how many there are */
};

/* The configuration, constant once the program is loaded. Addresses and frames are in network byte order. */
struct flood_config {
	__u64 key; /* of everything random */
	__u32 ifindex; /* the interface that frames leave by and answers arrive on */
	__u32 relay; /* what the target sends to others goes out there, and what arrives there goes out of ifindex; or 0 */
	__u32 family;
	__u32 frame_bytes;
	__u32 ip_at; /* where the IP header stands in a frame */
	__u32 tcp_at; /* where the TCP header stands */
	__u32 fragment_at; /* where the identification of a fragment stands; 0 if frames are none */
	__u32 timestamp_at; /* where the value of the timestamps option stands; 0 without one */
	__u32 control; /* the TCP control bits, or FLOOD_CONTROL_RANDOM */
	__u32 checksum;
	__u32 first_port; /* host byte order */
	__u32 ports; /* how many source ports there are */
	__u32 source[4]; /* what all source addresses share, IPv4 in the last word */
	__u32 mask[4]; /* the bits in which they differ */
	__u32 target[4]; /* IPv4 in the last word */
	__u32 target_port; /* network byte order */
	__u32 ip_sum; /* one's complement sums of what is the same in every frame, as words in memory */
	__u32 tcp_sum; /* the TCP header and its pseudo-header */
	__u32 pseudo_sum; /* the pseudo-header alone */
	__u64 frame[14]; /* a frame with all that is the same in each of them, and zeros else; as bytes in memory */
};

/* How far sending has come, beside its schedule. One thread sends, so it needs no atomic operation. */
struct flood_progress {
	__u64 before; /* frames that were sent before this schedule began: a new one goes on where the last one ended */
	__u64 last_ns; /* when the last frame was sent that had its time */
};

/* Everything that one CPU counts. */
struct flood_counters {
	__u64 count[7];
};

_Static_assert(sizeof(((struct flood_counters *)0)->count) == FLOOD_COUNTERS * 8, "one word a counter");
_Static_assert(sizeof(((struct flood_config *)0)->frame) == FLOOD_FRAME_BYTES, "room for every frame");
_Static_assert(FLOOD_WINDOW_WORDS * 64 == FLOOD_WINDOW_FRAMES, "one bit a frame");
_Static_assert((__u32)(FLOOD_SEQ_FACTOR * FLOOD_SEQ_INVERSE) == 1, "inverse of each other");

#endif
