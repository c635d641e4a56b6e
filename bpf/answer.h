/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The tier of the defence that costs no ring, copy or wakeup: SYNs to endpoints are answered where they arrive, with the
 * same cookie that a worker would answer them with, and sent back by XDP_TX. The acknowledgment of a SYN-ACK goes to the
 * worker, as all segments do, and is judged there.
 *
 * Out of a veth an answer is redirected instead: what XDP_TX puts into the ring of a veth peer that has no XDP program waits there
 * until something else wakes the peer (veth_xdp_flush() in drivers/net/veth.c). Both ways ask that the peer polls (NAPI).
 *
 * Not here: when this is done. The control path switches it on and off by a flag in the configuration word, and the keys
 * with it (src/control).
 */
#ifndef HANDFAST_ANSWER_H
#define HANDFAST_ANSWER_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "contract.h"
#include "cookie.h"
#include "parse.h"
#include "usual.h"

/* How SYNs are answered. Two elements: the configuration word says which is in force, so that a change is seen whole. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct steer_cookies);
} cookies SEC(".maps");

/* Bits that hold every outcome. */
#define ANSWER_OUTCOMES 31
_Static_assert(STEER_COUNTERS <= ANSWER_OUTCOMES + 1, "every outcome fits its bits");

/* What an answer is made of and in. */
struct answer_work {
	struct parsed packet;
	__u32 cookies; /* which element of the map of cookies is in force */
	struct cookie_work made;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer_work);
} work SEC(".maps");

/*
 * Answers the SYN in `ctx`, of which `work` says what was parsed. A function of its own and not inlined: the verifier goes
 * through it once, and not once for every way that leads to it. Returns an outcome.
 */
__attribute__((noinline)) int answer_in_place(struct xdp_md *ctx)
{
	const __u8 *data = (const __u8 *)(long)ctx->data, *end = (const __u8 *)(long)ctx->data_end;
	__u32 first = 0, ip_at, tcp_at, words, tsval = 0, frame_bytes;
	struct answer_work *mine = bpf_map_lookup_elem(&work, &first);
	const struct steer_cookies *how;
	struct cookie_work *made;

	if (!mine)
		return STEER_REDIRECTED;
	how = bpf_map_lookup_elem(&cookies, &mine->cookies);
	if (!how)
		return STEER_REDIRECTED;
	made = &mine->made;
	ip_at = COOKIE_ETHER_BYTES + (mine->packet.tags & 3) * COOKIE_TAG_BYTES;
	tcp_at = ip_at + (mine->packet.version == 4 ? COOKIE_IPV4_BYTES : COOKIE_IPV6_BYTES);
	switch (cookie_read(&mine->packet, data + ip_at, end, how->flags, made)) {
	case COOKIE_NOT_PLAIN:
		return STEER_REDIRECTED;
	case COOKIE_BAD_CHECKSUM:
		return STEER_DROP_BAD_CHECKSUM;
	case COOKIE_PLAIN:
		break;
	}
	if (made->syn.has & how->flags & STEER_TIMESTAMPS)
		tsval = cookie_tsval(how, (__u32)bpf_jiffies64());
	words = cookie_write_tcp(how, &mine->packet, tsval, made);
	frame_bytes = tcp_at + words * 4;
	/* A driver may have no room behind a frame; the worker's frames have. */
	if (end - data != frame_bytes && bpf_xdp_adjust_tail(ctx, (int)frame_bytes - (int)(end - data)))
		return STEER_REDIRECTED;
	/* It has its length now; the verifier wants to see the question. */
	if (!cookie_write_frame((__u8 *)(long)ctx->data, (__u8 *)(long)ctx->data_end, &mine->packet, made->tcp, words))
		return STEER_REDIRECTED;
	return STEER_TX_COOKIE;
}

/*
 * Answers a usual SYN of the family, and says so by STEER_TX_COOKIE. Otherwise the frame is untouched.
 */
static __always_inline enum steer_counter answer_usual(struct xdp_md *ctx, const struct steer_cookies *how, int is_v4)
{
	const __u8 *data = (const __u8 *)(long)ctx->data, *end = (const __u8 *)(long)ctx->data_end;
	struct usual_syn syn;
	__u32 bytes;

	if (!usual_read(data, end, how, is_v4, &syn))
		return STEER_REDIRECTED;
	bytes = usual_tcp_at(is_v4) + syn.words_answered * 4;
	if (end - data != bytes && bpf_xdp_adjust_tail(ctx, (int)bytes - (int)(end - data)))
		return STEER_REDIRECTED;
	/* It has its length now; the verifier wants to see the question. */
	return usual_write((__u8 *)(long)ctx->data, (__u8 *)(long)ctx->data_end, how, is_v4,
			   cookie_tsval(how, (__u32)bpf_jiffies64()), &syn) ? STEER_TX_COOKIE : STEER_REDIRECTED;
}

/*
 * Answers a SYN to an endpoint, if it is plain, and says what became of it. STEER_REDIRECTED is for the worker: the frame
 * is untouched then.
 */
static __always_inline enum steer_counter answer_syn(struct xdp_md *ctx, const struct steer_config *settings,
						     const struct parsed *packet)
{
	__u32 first = 0;
	struct answer_work *mine = bpf_map_lookup_elem(&work, &first);

	if (!mine)
		return STEER_REDIRECTED;
	mine->packet = *packet;
	mine->cookies = settings->flags & STEER_SECOND_COOKIES ? 1 : 0;
	/* The verifier knows nothing of what the function returns. */
	return answer_in_place(ctx) & ANSWER_OUTCOMES;
}

#endif
