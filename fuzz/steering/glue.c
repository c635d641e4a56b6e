/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * bpf/parse.h, bpf/cookie.h and bpf/usual.h, compiled for the host: the same lines that the steering program is made of.
 *
 * What is added: the questions that decide() in bpf/steer.bpf.c and answer_in_place() in bpf/answer.h ask, for endpoints of any
 * address and any port.
 * Not here: endpoints, the MAC filter and counters; they have no say in what a frame is.
 */
#include <stddef.h>
#include <string.h>

#include "../../bpf/cookie.h"
#include "../../bpf/parse.h"
#include "../../bpf/usual.h"

/* What steering knows of a frame that it takes; the same in fuzz/src/steering.rs. */
struct handfast_fuzz_steered {
	__u8 dst[16];
	__u8 src[16];
	__u16 dst_port;
	__u16 src_port;
	__u8 control;
};

/* 1 if a frame is steered if its endpoint is, with what is known of it. */
int handfast_fuzz_steers(const __u8 *frame, size_t bytes, struct handfast_fuzz_steered *out)
{
	struct parsed packet = {};

	if (parse_frame(frame, frame + bytes, &packet) != PARSE_TCP || packet.fault != PARSE_FAULT_NONE)
		return 0;
	/* The port map never has bits for port 0. */
	if (packet.dst_port == 0)
		return 0;
	memcpy(out->dst, packet.dst, sizeof(packet.dst));
	memcpy(out->src, packet.src, sizeof(packet.src));
	out->dst_port = packet.dst_port;
	out->src_port = packet.src_port;
	out->control = packet.control;
	return 1;
}

/* The number of a cookie. Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; the key is two little-endian words. */
__u32 handfast_fuzz_cookie_number(const __u64 *key, const __u8 *peer, const __u8 *own, __u16 peer_port, __u16 own_port,
				  __u32 peer_isn, __u8 flags)
{
	static const __u8 mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct parsed packet = { .src_port = peer_port, .dst_port = own_port };

	packet.version = memcmp(peer, mapped, sizeof(mapped)) ? 6 : 4;
	memcpy(packet.src, peer, sizeof(packet.src));
	memcpy(packet.dst, own, sizeof(packet.dst));
	return cookie_number_of(key, &packet, peer_isn, flags);
}

/*
 * What becomes of a frame that is steered while SYNs are answered: 0 if it is left to the worker, 1 if a checksum is wrong, else
 * how long its answer is, which is in `out`. There has to be room for the frame and for 128 bytes.
 */
int handfast_fuzz_answer(const __u8 *frame, size_t bytes, const struct steer_cookies *how, __u32 tick, __u8 *out)
{
	struct parsed packet = {};
	/* Not zeros: nothing may depend on what an earlier answer left. */
	struct cookie_work work;
	__u32 ip_at, words, tsval = 0;
	size_t answer_bytes;

	memset(&work, 0xa5, sizeof(work));
	if (parse_frame(frame, frame + bytes, &packet) != PARSE_TCP || packet.fault != PARSE_FAULT_NONE ||
	    packet.dst_port == 0 || (packet.control & (PARSE_SYN | PARSE_ACK)) != PARSE_SYN)
		return 0;
	ip_at = COOKIE_ETHER_BYTES + packet.tags * COOKIE_TAG_BYTES;
	switch (cookie_read(&packet, frame + ip_at, frame + bytes, how->flags, &work)) {
	case COOKIE_NOT_PLAIN:
		return 0;
	case COOKIE_BAD_CHECKSUM:
		return 1;
	case COOKIE_PLAIN:
		break;
	}
	if (work.syn.has & how->flags & STEER_TIMESTAMPS)
		tsval = cookie_tsval(how, tick);
	words = cookie_write_tcp(how, &packet, tsval, &work);
	answer_bytes = ip_at + (packet.version == 4 ? COOKIE_IPV4_BYTES : COOKIE_IPV6_BYTES) + words * 4;
	memcpy(out, frame, bytes);
	if (!cookie_write_frame(out, out + answer_bytes, &packet, work.tcp, words))
		return 0;
	return (int)answer_bytes;
}

/* The same the short way, for frames without a tag; 0 if it is left to the long one. */
int handfast_fuzz_answer_usual(const __u8 *frame, size_t bytes, const struct steer_cookies *how, __u32 tick, __u8 *out)
{
	struct usual_syn syn;
	size_t answer_bytes;
	int is_v4;

	if (bytes < COOKIE_ETHER_BYTES)
		return 0;
	is_v4 = frame[12] == ETH_P_IP >> 8 && frame[13] == (ETH_P_IP & 0xff);
	if (!is_v4 && (frame[12] != ETH_P_IPV6 >> 8 || frame[13] != (ETH_P_IPV6 & 0xff)))
		return 0;
	if (!usual_read(frame, frame + bytes, how, is_v4, &syn))
		return 0;
	answer_bytes = usual_tcp_at(is_v4) + syn.words_answered * 4;
	memcpy(out, frame, bytes);
	if (!usual_write(out, out + answer_bytes, how, is_v4, cookie_tsval(how, tick), &syn))
		return 0;
	return (int)answer_bytes;
}
