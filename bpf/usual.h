/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The SYNs that a flood is made of, answered in a straight line: IPv4 or IPv6 right behind the Ethernet header, TCP right behind
 * that, and no options, an MSS alone, or what Linux sends. Each field stands where it always does, so that nothing is walked,
 * and nothing is kept in memory but the frame.
 *
 * Whatever is not of this kind, or has anything wrong with it, is nobody's here: the way over parse.h and cookie.h takes it, answers
 * it in the same way or says what is wrong. So this is a short cut and no rule of its own, and tests hold the two ways together. Pure
 * functions that use nothing but kernel UAPI headers, so the same lines also compile for the host.
 *
 * Not here: MAC addresses and endpoints (steer.bpf.c), and the frame's length (answer.h).
 */
#ifndef HANDFAST_USUAL_H
#define HANDFAST_USUAL_H

#include <linux/types.h>

#include "contract.h"
#include "cookie.h"
#include "parse.h"

/* Words of a TCP header with an MSS alone, and with what Linux sends; a SYN-ACK has the former at least. */
#define USUAL_MSS_WORDS (COOKIE_TCP_WORDS + 1)
#define USUAL_LINUX_WORDS (COOKIE_TCP_WORDS + 5)
/* What Linux offers, and a SYN-ACK that takes it all. */
#define USUAL_OFFERS (STEER_TIMESTAMPS | STEER_WINDOW_SCALE | STEER_SACK_PERMITTED)

/* What is kept of a usual SYN while its frame gets the length of the answer. */
struct usual_syn {
	__u64 addresses; /* the sum of both, as words in memory */
	__u32 words; /* of its TCP header */
	__u32 words_answered; /* and of the SYN-ACK's */
};

/* Where TCP starts. */
COOKIE_FUNCTION __u32 usual_tcp_at(int is_v4)
{
	return COOKIE_ETHER_BYTES + (is_v4 ? COOKIE_IPV4_BYTES : COOKIE_IPV6_BYTES);
}

/* True if the IP header has no surprises and its length is that of a TCP header of `words`. Checks the sum of IPv4's. */
COOKIE_FUNCTION int usual_ip(const __u32 *ip, __u32 words, int is_v4)
{
	if (is_v4) {
		__u64 sum = (__u64)ip[0] + ip[1] + ip[2] + ip[3] + ip[4];

		return (ip[0] & COOKIE_BYTES(0xff, 0, 0xff, 0xff)) ==
			       COOKIE_BE32(0x45000000 | (COOKIE_IPV4_BYTES + words * 4)) &&
		       !(ip[1] & COOKIE_BE32(PARSE_IPV4_MORE_FRAGMENTS | PARSE_IPV4_FRAGMENT_OFFSET)) &&
		       (ip[2] & COOKIE_BYTES(0, 0xff, 0, 0)) == COOKIE_BYTES(0, IPPROTO_TCP, 0, 0) &&
		       cookie_fold(sum) == 0xffff;
	}
	return (ip[0] & COOKIE_BYTES(0xf0, 0, 0, 0)) == COOKIE_BYTES(0x60, 0, 0, 0) &&
	       (ip[1] & COOKIE_BYTES(0xff, 0xff, 0xff, 0)) == COOKIE_BE32(words * 4 << 16 | IPPROTO_TCP << 8);
}

/* True if both ends are those of a connection (cookie_is_plain). */
COOKIE_FUNCTION int usual_ends(const __u32 *ip, const __u32 *tcp, int is_v4)
{
	const __u16 *port = (const void *)tcp;

	if (!port[0] || !port[1])
		return 0;
	if (is_v4) {
		__u32 src = COOKIE_BE32(ip[3]) >> 24, dst = COOKIE_BE32(ip[4]) >> 24;

		return src - 1 < 223 && dst - 1 < 223 && src != 127 && dst != 127 &&
		       !(ip[3] == ip[4] && port[0] == port[1]);
	}
	return cookie_is_unicast(ip + 2, 0) && cookie_is_unicast(ip + 6, 0) &&
	       !(port[0] == port[1] && ip[2] == ip[6] && ip[3] == ip[7] && ip[4] == ip[8] && ip[5] == ip[9]);
}

/* True if the options are those that Linux sends. */
COOKIE_FUNCTION int usual_options_of_linux(const __u32 *option)
{
	return option[1] == COOKIE_BYTES(COOKIE_OPTION_SACK_PERMITTED, 2, COOKIE_OPTION_TIMESTAMPS, 10) &&
	       (option[4] & COOKIE_BYTES(0xff, 0xff, 0xff, 0)) ==
		       COOKIE_BYTES(COOKIE_OPTION_NOP, COOKIE_OPTION_WINDOW_SCALE, 3, 0);
}

COOKIE_FUNCTION __u64 usual_sum(const __u32 *word, int words)
{
	__u64 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < words; i++)
		sum += word[i];
	return sum;
}

/* True if the frame at `data` is a usual SYN with nothing wrong about it, of the family. */
COOKIE_FUNCTION int usual_read(const __u8 *data, const __u8 *end, const struct steer_cookies *how, int is_v4,
			       struct usual_syn *out)
{
	const __u32 *ip = (const void *)(data + COOKIE_ETHER_BYTES);
	const __u32 *tcp = (const void *)(data + usual_tcp_at(is_v4)), *option = tcp + COOKIE_TCP_WORDS;
	__u64 sum, pseudo;
	__u32 words;
	__u16 stated;

	if ((const __u8 *)option > end)
		return 0;
	words = COOKIE_BE32(tcp[3]) >> 28;
	if ((tcp[3] & COOKIE_BYTES(0, PARSE_CONTROL_BITS, 0, 0)) != COOKIE_BYTES(0, PARSE_SYN, 0, 0))
		return 0;
	if (!usual_ip(ip, words, is_v4) || !usual_ends(ip, tcp, is_v4))
		return 0;
	sum = usual_sum(tcp, COOKIE_TCP_WORDS);
	out->words_answered = USUAL_MSS_WORDS;
	if (words != COOKIE_TCP_WORDS) {
		if ((const __u8 *)(tcp + USUAL_MSS_WORDS) > end ||
		    (option[0] & COOKIE_BYTES(0xff, 0xff, 0, 0)) != COOKIE_BYTES(COOKIE_OPTION_MSS, 4, 0, 0))
			return 0;
		sum += option[0];
	}
	if (words == USUAL_LINUX_WORDS) {
		/* All or nothing is taken of it here. */
		if ((const __u8 *)(tcp + USUAL_LINUX_WORDS) > end || !usual_options_of_linux(option) ||
		    (how->flags & USUAL_OFFERS) != USUAL_OFFERS)
			return 0;
		sum += usual_sum(option + 1, 4);
		out->words_answered = USUAL_LINUX_WORDS;
	} else if (words > USUAL_MSS_WORDS) {
		return 0;
	}
	out->addresses = is_v4 ? usual_sum(ip + 3, 2) : usual_sum(ip + 2, 8);
	pseudo = out->addresses + COOKIE_BE16(IPPROTO_TCP) + COOKIE_BE16(words * 4);
	if (cookie_fold(pseudo + sum) != 0xffff) {
		stated = *(const __u16 *)((const __u8 *)tcp + PARSE_CHECKSUM_AT);
		if (!(how->flags & STEER_PARTIAL_CHECKSUMS) || stated != cookie_fold(pseudo))
			return 0;
	}
	out->words = words;
	return 1;
}

/* The cookie of a usual SYN whose answer is made. */
COOKIE_FUNCTION __u32 usual_number(const __u32 *ip, const __u32 *tcp, const struct steer_cookies *how,
				   const struct usual_syn *syn, int is_v4)
{
	struct cookie_syn read = {};

	if (syn->words != COOKIE_TCP_WORDS) {
		read.mss = COOKIE_BE32(tcp[5]) & 0xffff;
		read.has_mss = 1;
	}
	if (syn->words_answered == USUAL_LINUX_WORDS) {
		read.shift = COOKIE_BE32(tcp[9]) & 0xff;
		read.has = USUAL_OFFERS;
	}
	return cookie_number(how->key, is_v4 ? ip + 3 : ip + 2, is_v4 ? ip + 4 : ip + 6, is_v4,
			     COOKIE_BE32(tcp[0]), COOKIE_BE32(tcp[1]), cookie_flags(how, &read, is_v4));
}

/* The IP header of the SYN-ACK over that of the SYN (cookie_write_ip). */
COOKIE_FUNCTION void usual_write_ip(__u32 *ip, const struct usual_syn *syn, int is_v4)
{
	__u32 bytes = syn->words_answered * 4, word;
	int i;

	if (is_v4) {
		const __u32 length = COOKIE_BE32(0x45000000 | (COOKIE_IPV4_BYTES + bytes));
		const __u32 fragment = COOKIE_BE32(0x00004000), protocol = COOKIE_BE32(0x40060000);
		__u16 checksum = ~cookie_fold(syn->addresses + length + fragment + protocol);

		word = ip[3];
		ip[0] = length;
		ip[1] = fragment;
		ip[2] = protocol;
		((__u16 *)ip)[5] = checksum;
		ip[3] = ip[4];
		ip[4] = word;
		return;
	}
	ip[0] = COOKIE_BE32(0x60000000);
	ip[1] = COOKIE_BE32(bytes << 16 | 0x0640);
#pragma unroll
	for (i = 2; i < 6; i++) {
		word = ip[i];
		ip[i] = ip[i + 4];
		ip[i + 4] = word;
	}
}

/* Writes the SYN-ACK over a usual SYN whose frame has just its length. False, and nothing written, if it has not. */
COOKIE_FUNCTION int usual_write(__u8 *data, const __u8 *end, const struct steer_cookies *how, int is_v4, __u32 tsval,
				const struct usual_syn *syn)
{
	__u32 *ip = (void *)(data + COOKIE_ETHER_BYTES), *tcp = (void *)(data + usual_tcp_at(is_v4));
	__u32 mss = is_v4 ? how->mss_v4 : how->mss_v6, ack, number, ports, scale;
	__u64 sum;

	if ((const __u8 *)(tcp + USUAL_MSS_WORDS) > end)
		return 0;
	sum = syn->addresses + COOKIE_BE16(IPPROTO_TCP) + COOKIE_BE16(syn->words_answered * 4);
	if (syn->words_answered == USUAL_LINUX_WORDS) {
		if ((const __u8 *)(tcp + USUAL_LINUX_WORDS) > end)
			return 0;
	}
	number = COOKIE_BE32(usual_number(ip, tcp, how, syn, is_v4));
	ack = COOKIE_BE32(COOKIE_BE32(tcp[1]) + 1);
	ports = tcp[0] << 16 | tcp[0] >> 16;
	if (syn->words_answered == USUAL_LINUX_WORDS) {
		scale = COOKIE_BYTES(COOKIE_OPTION_NOP, COOKIE_OPTION_WINDOW_SCALE, 3, how->shift);
		tcp[8] = tcp[7];
		tcp[7] = COOKIE_BE32(tsval);
		tcp[9] = scale;
		sum += usual_sum(tcp + USUAL_MSS_WORDS, 4);
	}
	tcp[0] = ports;
	tcp[1] = number;
	tcp[2] = ack;
	tcp[3] = COOKIE_BE32(syn->words_answered << 28 | (__u32)(PARSE_SYN | PARSE_ACK) << 16 | how->window);
	tcp[5] = COOKIE_BYTES(COOKIE_OPTION_MSS, 4, mss >> 8, mss & 0xff);
	sum += (__u64)ports + number + ack + tcp[3] + tcp[5];
	tcp[4] = (__u16)~cookie_fold(sum);
	cookie_swap_macs((__u16 *)data);
	usual_write_ip(ip, syn, is_v4);
	return 1;
}

#endif
