/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the steering program and its loader agree on: the layouts of map keys and values, and the list of counters.
 *
 * src/steer/contract.rs says the same in Rust; a test there reads this file and fails when the two differ, so the
 * notation is kept to what that test understands: `#define NAME decimal`, one enum, and structs of plain fields.
 * What is not here: map definitions and sizes (steer.bpf.c, set by the loader), and any logic.
 */
#ifndef HANDFAST_CONTRACT_H
#define HANDFAST_CONTRACT_H

#include <linux/types.h>

/* The port map: 65,536 ports of two bits each, 32 ports in a 64-bit word, the lowest port in the lowest bits. */
#define STEER_PORT_WORDS 2048
#define STEER_PORTS_PER_WORD 32
#define STEER_BITS_PER_PORT 2
/* The port belongs to an endpoint of any address. */
#define STEER_PORT_ANY 1
/* The port belongs to at least one endpoint with a given address: look the endpoint up. */
#define STEER_PORT_EXACT 2

#define STEER_FAMILY_IPV4 4
#define STEER_FAMILY_IPV6 6

/*
 * A row of the endpoint map. The address is in network byte order, IPv4 as ::ffff:a.b.c.d; port and family are in host
 * byte order. A row with port 0, which no endpoint has, says that some endpoint has this address: it decides about IPv6
 * frames whose port cannot be found.
 */
struct steer_endpoint {
	__u32 addr[4];
	__u16 port;
	__u16 family;
};

/* Take frames whatever their destination MAC address is. */
#define STEER_ANY_MAC 1
/* At least one endpoint has any address. */
#define STEER_ANY_ADDRESS 2
/* Take what matches the one element of the replies map, too. */
#define STEER_REPLIES 4
/* The prefix filter has entries: look sources up in it. */
#define STEER_FILTER 8
/* SYNs are limited by the prefix of their source. */
#define STEER_SYN_RATE 16
/* Plain SYNs to endpoints are answered here, with a cookie. */
#define STEER_ANSWER 32
/* The second element of the map of cookies is in force, and not the first: the other one can be written meanwhile. */
#define STEER_SECOND_COOKIES 64
/* Answers leave by a redirect to the interface that they came in by, and not by XDP_TX. */
#define STEER_REDIRECT_ANSWERS 128

/* What the prefix filter says of a source; the longest prefix decides, and what none covers is allowed. */
#define STEER_ALLOW 1
#define STEER_DENY 2
/* Bits of a whole key of the prefix filter: those of the family and of the address. */
#define STEER_SOURCE_BITS 160

/* The configuration: one aligned 64-bit word, so that a change is seen whole or not at all. */
struct steer_config {
	__u16 mac[3]; /* six bytes as in the frame, read two at a time */
	__u16 flags;
} __attribute__((aligned(8)));

/*
 * What a peer answers to connections that were opened from here: segments from its address and port to an address with
 * the prefix, and a port of the range. Addresses and masks are in network byte order, IPv4 as ::ffff:a.b.c.d; ports are
 * in host byte order.
 */
struct steer_replies {
	__u32 peer[4];
	__u32 prefix[4];
	__u32 mask[4];
	__u16 peer_port;
	__u16 first_port;
	__u16 last_port;
	__u16 family;
};

/*
 * A source, or a prefix of sources: the key of the prefix filter, and of the buckets of the SYN rate. Family and address
 * as in struct steer_endpoint, so that a prefix of no bits covers one family only.
 */
struct steer_source {
	__u32 bits; /* how many bits of family and address count, from the first on; always all of them for a bucket */
	__u32 family;
	__u32 addr[4];
};

/*
 * The limit of SYNs from one prefix, as a token bucket in time: a bucket is the instant at which it will be full again, each
 * SYN puts that off by `interval_ns`, and one that would put it further off than `depth_ns` is too many.
 */
struct steer_rate {
	__u64 interval_ns;
	__u64 depth_ns;
	__u32 mask_v4[4]; /* the bits of an address that make its prefix; IPv4 as ::ffff:a.b.c.d */
	__u32 mask_v6[4];
};

/* What may be offered to a peer that offers it. */
#define STEER_TIMESTAMPS 1
#define STEER_WINDOW_SCALE 2
#define STEER_SACK_PERMITTED 4
/* The number of the key's period is odd. */
#define STEER_ODD_PERIOD 8
/* A TCP checksum may cover the pseudo-header only. */
#define STEER_PARTIAL_CHECKSUMS 16

/* Bits behind the point of a tick's milliseconds. */
#define STEER_TICK_MS_BITS 20

/* How SYNs are answered with a cookie (src/tcp/cookie.rs). */
struct steer_cookies {
	__u64 key[2]; /* the 16 bytes of the key as little-endian words */
	__u32 tick; /* a tick of the kernel's clock (jiffies), modulo 2^32 */
	__u32 timestamp; /* our timestamp at it */
	__u32 tick_ms; /* how many ms a tick is, times 2^STEER_TICK_MS_BITS */
	__u16 window;
	__u16 mss_v4;
	__u16 mss_v6;
	__u16 shift; /* of our window */
	__u32 flags;
};

/*
 * Indexes into the counters. Every frame is counted as seen and as exactly one of the outcomes: those from
 * STEER_PASS_NOT_IP up to STEER_TX_COOKIE, inclusive. The outcomes from STEER_DROP_FRAGMENT up to STEER_REDIRECTED,
 * exclusive, are drops. What stands behind STEER_TX_COOKIE counts something else than frames by their outcome.
 */
enum steer_counter {
	STEER_SEEN,
	STEER_PASS_NOT_IP,
	STEER_PASS_TOO_MANY_TAGS,
	STEER_PASS_TRUNCATED,
	STEER_PASS_BAD_IP_HEADER,
	STEER_PASS_NOT_TCP,
	STEER_PASS_LATER_FRAGMENT,
	STEER_PASS_IN_TRANSIT,
	STEER_PASS_NOT_FOR_US,
	STEER_PASS_NOT_AN_ENDPOINT,
	STEER_PASS_NO_SOCKET,
	STEER_DROP_FRAGMENT,
	STEER_DROP_EXTENSION_HEADER,
	STEER_DROP_BAD_IP_LENGTH,
	STEER_DROP_BAD_TCP_HEADER,
	STEER_DROP_DENIED,
	STEER_DROP_SYN_RATE,
	STEER_DROP_BAD_CHECKSUM,
	STEER_REDIRECTED,
	STEER_TX_COOKIE,
	STEER_SYN_BUCKETS, /* buckets made for source prefixes */
	STEER_SYN_UNLIMITED, /* SYNs that got through because no bucket could be made */
	STEER_COUNTERS /* how many there are */
};

/* All counters of one CPU. */
struct steer_counters {
	__u64 count[STEER_COUNTERS];
};

_Static_assert(STEER_PORT_WORDS * STEER_PORTS_PER_WORD == 65536, "every port has its bits");
_Static_assert(STEER_PORTS_PER_WORD * STEER_BITS_PER_PORT == 64, "the bits of a word are all used");
_Static_assert(sizeof(struct steer_endpoint) == 20, "no padding: the kernel hashes every byte of a key");
_Static_assert(sizeof(struct steer_config) == 8, "one word");
_Static_assert(sizeof(struct steer_replies) == 56, "no padding");
_Static_assert(sizeof(struct steer_source) == 24, "no padding: the kernel hashes every byte of a key");
_Static_assert((sizeof(struct steer_source) - sizeof(__u32)) * 8 == STEER_SOURCE_BITS, "all bits behind their number");
_Static_assert(sizeof(struct steer_rate) == 48, "no padding");
_Static_assert(sizeof(struct steer_cookies) == 40, "no padding");

#endif
