/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * SYN cookies below the socket: reads a plain SYN, and writes the SYN-ACK that src/tcp/cookie.rs would answer it with.
 *
 * The rule is that module's. This is its second writing, and tests hold the two together: the numbers by one table of
 * vectors, the frames byte by byte, here and in the kernel. Pure functions that use nothing but kernel UAPI headers, so the
 * same lines also compile for the host.
 *
 * A SYN is plain if a worker would open a connection for it: no other control bit but ECE and CWR, no payload, nothing
 * between the headers, unicast addresses, ports that are not 0. Whatever is not plain is left to the worker, which answers
 * or drops it by its reason; only a wrong checksum is told apart here, because a flood of those is cheap to make.
 *
 * Not here: the frame's length and the maps (answer.h), and the check of what comes back, which is the workers'.
 */
#ifndef HANDFAST_COOKIE_H
#define HANDFAST_COOKIE_H

#include <linux/types.h>

#include "contract.h"
#include "parse.h"

#define COOKIE_FUNCTION static inline __attribute__((always_inline))

/* Room for a TCP header in words, as it is written; and the words of one without options. */
#define COOKIE_WORDS_WRITTEN_MAX 11
#define COOKIE_TCP_WORDS 5
#define COOKIE_ETHER_BYTES 14
#define COOKIE_TAG_BYTES 4
#define COOKIE_IPV4_BYTES 20
#define COOKIE_IPV6_BYTES 40

/* Kinds of TCP options (RFC 9293 3.2, RFC 7323, RFC 2018). */
#define COOKIE_OPTION_END 0
#define COOKIE_OPTION_NOP 1
#define COOKIE_OPTION_MSS 2
#define COOKIE_OPTION_WINDOW_SCALE 3
#define COOKIE_OPTION_SACK_PERMITTED 4
#define COOKIE_OPTION_TIMESTAMPS 8
#define COOKIE_OPTIONS_BYTES 40

/* The flags in a cookie. */
#define COOKIE_ODD_PERIOD 0x80
#define COOKIE_MSS_AT 5
#define COOKIE_SHIFT_AT 1
#define COOKIE_NO_SHIFT 15
#define COOKIE_LARGEST_SHIFT 14
#define COOKIE_SACK_PERMITTED 1

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define COOKIE_BE16(x) ((__u16)__builtin_bswap16(x))
#define COOKIE_BE32(x) ((__u32)__builtin_bswap32(x))
#define COOKIE_LE64(x) (x)
#else
#define COOKIE_BE16(x) ((__u16)(x))
#define COOKIE_BE32(x) ((__u32)(x))
#define COOKIE_LE64(x) ((__u64)__builtin_bswap64(x))
#endif
/* Four bytes in the order in which they are sent, as a word in memory. */
#define COOKIE_BYTES(a, b, c, d) COOKIE_BE32((__u32)(a) << 24 | (__u32)(b) << 16 | (__u32)(c) << 8 | (__u32)(d))

/* A plain SYN, as far as its answer depends on it. */
struct cookie_syn {
	__u32 seq; /* host byte order, as what follows */
	__u32 tsval;
	__u16 mss;
	__u8 shift;
	__u8 has; /* STEER_TIMESTAMPS, STEER_WINDOW_SCALE, STEER_SACK_PERMITTED */
	__u8 has_mss;
};

/*
 * What one answer is made in. In eBPF it lies in a map: of what is read from there the verifier assumes nothing, so the many ways
 * through the options all look the same to it behind each of them, and it comes to an end.
 */
struct cookie_work {
	__u8 options[72]; /* as they arrived, anything behind them; room for what stands behind any index below 64 */
	__u32 at; /* where the next option is */
	struct cookie_syn syn;
	__u32 tcp[COOKIE_WORDS_WRITTEN_MAX]; /* the header as it is written, zeros behind it */
};

enum cookie_end {
	COOKIE_PLAIN,
	COOKIE_NOT_PLAIN,
	COOKIE_BAD_CHECKSUM
};

/* ---- numbers ---- */

/* The ones' complement sum of what was added in at most 16 words, folded, as a word in memory. */
COOKIE_FUNCTION __u16 cookie_fold(__u64 sum)
{
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (sum >> 16) + (sum & 0xffff);
}

#define COOKIE_ROTATE(x, bits) ((x) << (bits) | (x) >> (64 - (bits)))

#define COOKIE_ROUND(v0, v1, v2, v3)                  \
	do {                                          \
		(v0) += (v1);                         \
		(v2) += (v3);                         \
		(v1) = COOKIE_ROTATE(v1, 13) ^ (v0);  \
		(v3) = COOKIE_ROTATE(v3, 16) ^ (v2);  \
		(v0) = COOKIE_ROTATE(v0, 32);         \
		(v2) += (v1);                         \
		(v0) += (v3);                         \
		(v1) = COOKIE_ROTATE(v1, 17) ^ (v2);  \
		(v3) = COOKIE_ROTATE(v3, 21) ^ (v0);  \
		(v2) = COOKIE_ROTATE(v2, 32);         \
	} while (0)

/* Takes one word of the message into the state. */
#define COOKIE_COMPRESS(m)                     \
	do {                                   \
		v3 ^= (m);                     \
		COOKIE_ROUND(v0, v1, v2, v3);  \
		v0 ^= (m);                     \
	} while (0)

/* SipHash-1-3 of `words` little-endian words and one more byte. */
COOKIE_FUNCTION __u64 cookie_hash(const __u64 key[2], const __u64 *message, int words, __u8 last)
{
	__u64 v0 = key[0] ^ 0x736f6d6570736575ULL, v1 = key[1] ^ 0x646f72616e646f6dULL;
	__u64 v2 = key[0] ^ 0x6c7967656e657261ULL, v3 = key[1] ^ 0x7465646279746573ULL;
	const __u64 end = (__u64)(words * 8 + 1) << 56 | last;
	int i;

#pragma unroll
	for (i = 0; i < words; i++)
		COOKIE_COMPRESS(message[i]);
	COOKIE_COMPRESS(end);
	v2 ^= 0xff;
	COOKIE_ROUND(v0, v1, v2, v3);
	COOKIE_ROUND(v0, v1, v2, v3);
	COOKIE_ROUND(v0, v1, v2, v3);
	return v0 ^ v1 ^ v2 ^ v3;
}

/* Two words of an address as one little-endian word. */
COOKIE_FUNCTION __u64 cookie_pair(const __u32 *words)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u64)words[1] << 32 | words[0];
#else
	return COOKIE_LE64((__u64)words[0] << 32 | words[1]);
#endif
}

/*
 * `number` of src/tcp/cookie.rs: the initial sequence number that says `flags` to the peer. Addresses are given as they are in the
 * frame, of IPv4 the only word; the ports as one number, the peer's in front.
 */
COOKIE_FUNCTION __u32 cookie_number(const __u64 key[2], const __u32 *peer, const __u32 *own, int is_v4, __u32 ports,
				    __u32 peer_isn, __u8 flags)
{
	const __u64 numbers = (__u64)peer_isn << 32 | ports;
	__u32 word;

	if (is_v4) {
		const __u32 addresses[2] = { peer[0], own[0] };
		const __u64 message[2] = { cookie_pair(addresses), numbers };

		word = (__u32)cookie_hash(key, message, 2, flags);
	} else {
		const __u64 message[5] = {
			cookie_pair(&peer[0]), cookie_pair(&peer[2]), cookie_pair(&own[0]), cookie_pair(&own[2]), numbers,
		};

		word = (__u32)cookie_hash(key, message, 5, flags);
	}
	return (word & 0xffffff00) | (flags ^ word >> 24);
}

/* The number for a SYN that was parsed. */
COOKIE_FUNCTION __u32 cookie_number_of(const __u64 key[2], const struct parsed *packet, __u32 peer_isn, __u8 flags)
{
	__u32 ports = (__u32)packet->src_port << 16 | packet->dst_port;

	if (packet->version == 4)
		return cookie_number(key, &packet->src[3], &packet->dst[3], 1, ports, peer_isn, flags);
	return cookie_number(key, packet->src, packet->dst, 0, ports, peer_isn, flags);
}

/* The index of the largest segment size that a cookie can name and the peer takes. */
COOKIE_FUNCTION __u8 cookie_mss_index(const struct cookie_syn *syn, int is_v4)
{
	__u16 mss = syn->mss;

	if (is_v4) {
		if (!syn->has_mss)
			mss = 536;
		return (mss >= 536) + (mss >= 1300) + (mss >= 1460);
	}
	if (!syn->has_mss)
		mss = 1220;
	return (mss >= 1220) + (mss >= 1360) + (mss >= 1440);
}

/* What of the SYN's options is kept, as they are taken by both sides. */
COOKIE_FUNCTION __u8 cookie_flags(const struct steer_cookies *settings, const struct cookie_syn *syn, int is_v4)
{
	__u8 taken = syn->has & settings->flags;
	__u8 shift = syn->shift > COOKIE_LARGEST_SHIFT ? COOKIE_LARGEST_SHIFT : syn->shift;

	if (!(taken & STEER_WINDOW_SCALE))
		shift = COOKIE_NO_SHIFT;
	return (settings->flags & STEER_ODD_PERIOD ? COOKIE_ODD_PERIOD : 0) |
	       cookie_mss_index(syn, is_v4) << COOKIE_MSS_AT | shift << COOKIE_SHIFT_AT |
	       (taken & STEER_SACK_PERMITTED ? COOKIE_SACK_PERMITTED : 0);
}

/* ---- reading ---- */

/*
 * Reads TCP options as `Options::parse` in src/wire/options.rs does: unknown ones are stepped over, one that cannot be ends
 * the walk, of a repeated one the last counts. `bytes` of the 40 are there. All that changes from one option to the next is
 * kept in `work`, see there. Nothing is asked of the bytes behind the options: whatever length they say does not fit.
 */
COOKIE_FUNCTION void cookie_read_options(volatile struct cookie_work *work, __u32 bytes)
{
	volatile struct cookie_syn *out = &work->syn;
	int i;

	for (i = 0; i < COOKIE_OPTIONS_BYTES; i++) {
		__u32 at = work->at & 63;
		const volatile __u8 *option = &work->options[at];
		__u8 kind = option[0], len = option[1];

		if (at >= bytes || kind == COOKIE_OPTION_END)
			return;
		if (kind == COOKIE_OPTION_NOP) {
			work->at = at + 1;
			continue;
		}
		if (len < 2 || at + len > bytes)
			return;
		work->at = at + len;
		if (kind == COOKIE_OPTION_MSS && len == 4) {
			out->mss = (__u16)option[2] << 8 | option[3];
			out->has_mss = 1;
		} else if (kind == COOKIE_OPTION_WINDOW_SCALE && len == 3) {
			out->shift = option[2];
			out->has |= STEER_WINDOW_SCALE;
		} else if (kind == COOKIE_OPTION_SACK_PERMITTED && len == 2) {
			out->has |= STEER_SACK_PERMITTED;
		} else if (kind == COOKIE_OPTION_TIMESTAMPS && len == 10) {
			out->tsval = (__u32)option[2] << 24 | (__u32)option[3] << 16 | (__u32)option[4] << 8 | option[5];
			out->has |= STEER_TIMESTAMPS;
		}
	}
}

/*
 * Reads the options of most SYNs, which stand in whole words: none, an MSS alone, or what Linux sends (MSS, SACK permitted,
 * timestamps, a NOP and the window scale). False if they are others.
 */
COOKIE_FUNCTION int cookie_read_usual_options(struct cookie_work *work, __u32 words)
{
	const __u32 *option = (const __u32 *)work->options;
	struct cookie_syn *out = &work->syn;

	if (words == 0)
		return 1;
	if ((option[0] & COOKIE_BYTES(0xff, 0xff, 0, 0)) != COOKIE_BYTES(COOKIE_OPTION_MSS, 4, 0, 0))
		return 0;
	if (words == 5) {
		if (option[1] != COOKIE_BYTES(COOKIE_OPTION_SACK_PERMITTED, 2, COOKIE_OPTION_TIMESTAMPS, 10) ||
		    (option[4] & COOKIE_BYTES(0xff, 0xff, 0xff, 0)) !=
			    COOKIE_BYTES(COOKIE_OPTION_NOP, COOKIE_OPTION_WINDOW_SCALE, 3, 0))
			return 0;
		out->tsval = COOKIE_BE32(option[2]);
		out->shift = COOKIE_BE32(option[4]) & 0xff;
		out->has = STEER_TIMESTAMPS | STEER_WINDOW_SCALE | STEER_SACK_PERMITTED;
	} else if (words != 1) {
		return 0;
	}
	out->mss = COOKIE_BE32(option[0]) & 0xffff;
	out->has_mss = 1;
	return 1;
}

/* True for an address that one end of a connection can have (src/wire/ip.rs). */
COOKIE_FUNCTION int cookie_is_unicast(const __u32 addr[4], int is_v4)
{
	__u8 first = COOKIE_BE32(is_v4 ? addr[3] : addr[0]) >> 24;

	if (is_v4)
		return first != 0 && first != 127 && first < 224;
	/* Not unspecified, loopback, multicast, or IPv4 in the form of IPv6. */
	if (first == 0xff)
		return 0;
	if (addr[0] | addr[1])
		return 1;
	return addr[2] != COOKIE_BE32(0x0000ffff) && (addr[2] || COOKIE_BE32(addr[3]) > 1);
}

/* True if addresses, ports and control bits are those of a SYN that opens a connection. */
COOKIE_FUNCTION int cookie_is_plain(const struct parsed *packet)
{
	int is_v4 = packet->version == 4;
	int same = packet->src[0] == packet->dst[0] && packet->src[1] == packet->dst[1] &&
		   packet->src[2] == packet->dst[2] && packet->src[3] == packet->dst[3];

	return packet->plain && (packet->control & PARSE_CONTROL_BITS) == PARSE_SYN && packet->src_port != 0 &&
	       packet->dst_port != 0 && !(same && packet->src_port == packet->dst_port) &&
	       cookie_is_unicast(packet->src, is_v4) && cookie_is_unicast(packet->dst, is_v4);
}

/* The sum of a pseudo-header (RFC 9293 3.1, RFC 8200 8.1); it is the same in both directions. */
COOKIE_FUNCTION __u64 cookie_pseudo_header(const struct parsed *packet, __u32 tcp_bytes)
{
	__u64 sum = (__u64)packet->src[3] + packet->dst[3] + COOKIE_BE16(IPPROTO_TCP) + COOKIE_BE16(tcp_bytes);

	if (packet->version == 4)
		return sum;
	return sum + packet->src[0] + packet->src[1] + packet->src[2] + packet->dst[0] + packet->dst[1] +
	       packet->dst[2];
}

/* Takes a word of options into the buffer and the sum; written out, because the compiler does not unroll a loop with two exits. */
#define COOKIE_TAKE_OPTION_WORD(i)                                                      \
	do {                                                                            \
		const __u32 *word = (const void *)(tcp + (COOKIE_TCP_WORDS + (i)) * 4); \
                                                                                        \
		if (COOKIE_TCP_WORDS + (i) >= words || (const __u8 *)(word + 1) > end)  \
			goto taken;                                                     \
		options[i] = *word;                                                     \
		sum += *word;                                                           \
	} while (0)

/*
 * Reads a SYN that parse_frame() found no fault with. `ip` is where its IP header starts.
 */
COOKIE_FUNCTION enum cookie_end cookie_read(const struct parsed *packet, const __u8 *ip, const __u8 *end,
					    __u32 settings_flags, struct cookie_work *work)
{
	__u64 sum = 0, pseudo = cookie_pseudo_header(packet, packet->tcp_bytes);
	__u32 *options = (__u32 *)work->options;
	const __u8 *tcp;
	__u32 words, i;

	if (!cookie_is_plain(packet))
		return COOKIE_NOT_PLAIN;
	if (packet->version == 4) {
		const __u32 *word = (const void *)ip;

		tcp = ip + COOKIE_IPV4_BYTES;
		if (tcp + COOKIE_TCP_WORDS * 4 > end)
			return COOKIE_NOT_PLAIN;
		if (cookie_fold((__u64)word[0] + word[1] + word[2] + word[3] + word[4]) != 0xffff)
			return COOKIE_BAD_CHECKSUM;
	} else {
		tcp = ip + COOKIE_IPV6_BYTES;
		if (tcp + COOKIE_TCP_WORDS * 4 > end)
			return COOKIE_NOT_PLAIN;
	}
	words = tcp[PARSE_OFFSET_AT] >> 4;
	if (words < COOKIE_TCP_WORDS || packet->tcp_bytes != words * 4)
		return COOKIE_NOT_PLAIN;
#pragma unroll
	for (i = 0; i < COOKIE_TCP_WORDS; i++)
		sum += ((const __u32 *)tcp)[i];
	COOKIE_TAKE_OPTION_WORD(0);
	COOKIE_TAKE_OPTION_WORD(1);
	COOKIE_TAKE_OPTION_WORD(2);
	COOKIE_TAKE_OPTION_WORD(3);
	COOKIE_TAKE_OPTION_WORD(4);
	COOKIE_TAKE_OPTION_WORD(5);
	COOKIE_TAKE_OPTION_WORD(6);
	COOKIE_TAKE_OPTION_WORD(7);
	COOKIE_TAKE_OPTION_WORD(8);
	COOKIE_TAKE_OPTION_WORD(9);
taken:
	/* Read again, because the verifier would go all ways from here once for each length. */
	words = *(const volatile __u8 *)(tcp + PARSE_OFFSET_AT) >> 4;
	if (cookie_fold(pseudo + sum) != 0xffff &&
	    !(settings_flags & STEER_PARTIAL_CHECKSUMS && *(const __u16 *)(tcp + PARSE_CHECKSUM_AT) == cookie_fold(pseudo)))
		return COOKIE_BAD_CHECKSUM;
	work->syn.seq = COOKIE_BE32(*(const __u32 *)(tcp + PARSE_SEQ_AT));
	work->syn.tsval = 0;
	work->syn.mss = 0;
	work->syn.shift = 0;
	work->syn.has = 0;
	work->syn.has_mss = 0;
	if (!cookie_read_usual_options(work, words - COOKIE_TCP_WORDS)) {
		work->at = 0;
		cookie_read_options(work, (words - COOKIE_TCP_WORDS) * 4);
	}
	return COOKIE_PLAIN;
}

/* ---- writing ---- */

/* What a SYN-ACK takes behind the Ethernet header. */
COOKIE_FUNCTION __u32 cookie_tcp_words(__u8 taken)
{
	__u32 words = COOKIE_TCP_WORDS + 1;

	if (taken & STEER_TIMESTAMPS)
		words += 3;
	else if (taken & STEER_SACK_PERMITTED)
		words += 1;
	if (taken & STEER_WINDOW_SCALE)
		words += 1;
	return words;
}

/* The options of a SYN-ACK, in the order of `Options::write` in src/wire/options.rs; words that are not used are 0. */
COOKIE_FUNCTION void cookie_write_options(const struct steer_cookies *settings, const struct cookie_syn *syn,
					  __u8 taken, int is_v4, __u32 tsval, __u32 out[6])
{
	__u32 scale = COOKIE_BYTES(COOKIE_OPTION_NOP, COOKIE_OPTION_WINDOW_SCALE, 3, settings->shift);
	__u32 mss = is_v4 ? settings->mss_v4 : settings->mss_v6;

	if (!(taken & STEER_WINDOW_SCALE))
		scale = 0;
	out[0] = COOKIE_BYTES(COOKIE_OPTION_MSS, 4, mss >> 8, mss & 0xff);
	if (taken & STEER_TIMESTAMPS) {
		out[1] = taken & STEER_SACK_PERMITTED ?
				 COOKIE_BYTES(COOKIE_OPTION_SACK_PERMITTED, 2, COOKIE_OPTION_TIMESTAMPS, 10) :
				 COOKIE_BYTES(COOKIE_OPTION_NOP, COOKIE_OPTION_NOP, COOKIE_OPTION_TIMESTAMPS, 10);
		out[2] = COOKIE_BE32(tsval);
		out[3] = COOKIE_BE32(syn->tsval);
		out[4] = scale;
		out[5] = 0;
	} else if (taken & STEER_SACK_PERMITTED) {
		out[1] = COOKIE_BYTES(COOKIE_OPTION_NOP, COOKIE_OPTION_NOP, COOKIE_OPTION_SACK_PERMITTED, 2);
		out[2] = scale;
		out[3] = 0;
		out[4] = 0;
		out[5] = 0;
	} else {
		out[1] = scale;
		out[2] = 0;
		out[3] = 0;
		out[4] = 0;
		out[5] = 0;
	}
}

/* Our timestamp at a tick of the kernel's clock. */
COOKIE_FUNCTION __u32 cookie_tsval(const struct steer_cookies *settings, __u32 tick)
{
	return settings->timestamp + (__u32)((__u64)(tick - settings->tick) * settings->tick_ms >> STEER_TICK_MS_BITS);
}

/* The TCP header of the SYN-ACK, its checksum too. Returns its length in words; those behind it are 0. */
COOKIE_FUNCTION __u32 cookie_write_tcp(const struct steer_cookies *settings, const struct parsed *packet, __u32 tsval,
				       struct cookie_work *work)
{
	const struct cookie_syn *syn = &work->syn;
	__u32 *out = work->tcp;
	int is_v4 = packet->version == 4;
	__u8 taken = syn->has & settings->flags;
	__u32 words = cookie_tcp_words(taken), i;
	__u64 sum = cookie_pseudo_header(packet, words * 4);

	out[0] = COOKIE_BE32((__u32)packet->dst_port << 16 | packet->src_port);
	out[1] = COOKIE_BE32(cookie_number_of(settings->key, packet, syn->seq, cookie_flags(settings, syn, is_v4)));
	out[2] = COOKIE_BE32(syn->seq + 1);
	out[3] = COOKIE_BE32(words << 28 | (__u32)(PARSE_SYN | PARSE_ACK) << 16 | settings->window);
	out[4] = 0;
	cookie_write_options(settings, syn, taken, is_v4, tsval, out + COOKIE_TCP_WORDS);
#pragma unroll
	for (i = 0; i < COOKIE_WORDS_WRITTEN_MAX; i++)
		sum += out[i];
	/* The checksum is the first half of its word, the urgent pointer the second. */
	*(__u16 *)&out[4] = ~cookie_fold(sum);
	return words;
}

/* Turns the Ethernet header round. VLAN tags stay as they are. */
COOKIE_FUNCTION void cookie_swap_macs(__u16 *mac)
{
	__u16 a = mac[0], b = mac[1], c = mac[2];

	mac[0] = mac[3];
	mac[1] = mac[4];
	mac[2] = mac[5];
	mac[3] = a;
	mac[4] = b;
	mac[5] = c;
}

/* The IP header of the SYN-ACK, as src/wire/ip.rs writes it; there has to be room for it. */
COOKIE_FUNCTION void cookie_write_ip(const struct parsed *packet, __u32 tcp_bytes, __u32 *ip)
{
	if (packet->version == 4) {
		__u64 sum;

		ip[0] = COOKIE_BE32(0x45000000 | (COOKIE_IPV4_BYTES + tcp_bytes));
		ip[1] = COOKIE_BE32(0x00004000);
		ip[2] = COOKIE_BE32(0x40060000);
		ip[3] = packet->dst[3];
		ip[4] = packet->src[3];
		sum = (__u64)ip[0] + ip[1] + ip[2] + packet->dst[3] + packet->src[3];
		((__u16 *)ip)[5] = ~cookie_fold(sum);
		return;
	}
	ip[0] = COOKIE_BE32(0x60000000);
	ip[1] = COOKIE_BE32(tcp_bytes << 16 | 0x0640);
	ip[2] = packet->dst[0];
	ip[3] = packet->dst[1];
	ip[4] = packet->dst[2];
	ip[5] = packet->dst[3];
	ip[6] = packet->src[0];
	ip[7] = packet->src[1];
	ip[8] = packet->src[2];
	ip[9] = packet->src[3];
}

/*
 * Writes a SYN-ACK over a frame of just its length. False, and nothing written, if the frame is shorter.
 */
COOKIE_FUNCTION int cookie_write_frame(__u8 *data, __u8 *end, const struct parsed *packet,
				       const __u32 tcp_words[COOKIE_WORDS_WRITTEN_MAX], __u32 words)
{
	__u8 *ip = data + COOKIE_ETHER_BYTES + (packet->tags & 3) * COOKIE_TAG_BYTES;
	__u32 *tcp, i;

	if (data + COOKIE_ETHER_BYTES > end)
		return 0;
	if (packet->version == 4) {
		tcp = (__u32 *)(ip + COOKIE_IPV4_BYTES);
		if ((__u8 *)tcp + (COOKIE_TCP_WORDS + 1) * 4 > end)
			return 0;
	} else {
		tcp = (__u32 *)(ip + COOKIE_IPV6_BYTES);
		if ((__u8 *)tcp + (COOKIE_TCP_WORDS + 1) * 4 > end)
			return 0;
	}
	cookie_swap_macs((__u16 *)data);
	cookie_write_ip(packet, words * 4, (__u32 *)ip);
#pragma unroll
	for (i = 0; i < COOKIE_TCP_WORDS + 1; i++)
		tcp[i] = tcp_words[i];
#pragma unroll
	for (i = COOKIE_TCP_WORDS + 1; i < COOKIE_WORDS_WRITTEN_MAX; i++) {
		if ((__u8 *)(tcp + i + 1) > end)
			break;
		tcp[i] = tcp_words[i];
	}
	return 1;
}

#endif
