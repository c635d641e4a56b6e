// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The flooding program: segments to one target from very many addresses that are not ours, and a count of what comes back.
 *
 * One program with three duties, told apart by where a frame seems to arrive:
 *
 * - A frame of BPF_PROG_RUN with live frames arrives on the loopback interface. If one is due by the schedule, the program
 *   makes the next frame of it and redirects it out of the interface that it is attached to; if none is, it drops it.
 *   Why one call has to last over thousands of frames, and why the program has to be attached, is said in generate.bpf.c.
 * - A frame that arrives on that interface, from the target to an address of the flood, is counted and dropped: nobody is
 *   there to answer it. Any other is passed on untouched, or if a relay is set and the target's port sent it, out of the
 *   relay.
 * - A frame that arrives on the relay leaves by the interface. So another generator has a share in the same wire.
 *
 * Frame k is a function of the configuration and k alone. src/flood/frames.rs is the same function, for frames that are
 * sent over AF_XDP; a test holds one against the other.
 *
 * Not here, on purpose: an answer to anything, and a look at the target's checksums.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "flood.h"
#include "generate.h"
#include "send.h"

/* IPv4: more fragments, or a fragment offset. */
#define FRAGMENT 0x3fff

/* TCP control bits as they stand in the header's fourteenth byte. */
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

/* What a SYN and a FIN take of the sequence space, at most one each. */
#define MOST_NUMBERS 2

/* What the wrong checksum differs by from the right one: never by all bits or none, which would be right again. */
#define WRONG 0x5555

/* Read-only data: the verifier knows the values, and leaves out what they rule out. */
const volatile struct flood_config config = {};

/* When frames are due. One thread sends, so it needs no atomic operation. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct generate_schedule);
} schedule SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flood_progress);
} progress SEC(".maps");

/*
 * No frame has this number or a later one: up to 64 more than were sent. A map of its own and not every frame's business, for
 * the core that takes in answers reads it, and what two cores share and one writes costs both.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} reach SEC(".maps");

/* A bit for each of the last frames, by its number: it was answered. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOOD_WINDOW_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} window SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flood_counters);
} counters SEC(".maps");

static __always_inline const struct flood_config *settings(void)
{
	return hidden((const void *)&config);
}

/* ---- what is random in a frame ---- */

/* The number `index` of a sequence of its own (SplitMix64, which passes the usual tests of randomness). */
static __always_inline __u64 random_word(const struct flood_config *c, __u64 index)
{
	__u64 z = c->key + (index + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static __always_inline __u32 sequence_of(const struct flood_config *c, __u32 frame)
{
	__u32 seq = (frame + (__u32)c->key) * (__u32)FLOOD_SEQ_FACTOR;

	return seq ^ seq >> 16;
}

static __always_inline __u32 frame_of(const struct flood_config *c, __u32 seq)
{
	return (seq ^ seq >> 16) * (__u32)FLOOD_SEQ_INVERSE - (__u32)c->key;
}

static __always_inline __u32 control_of(const struct flood_config *c, __u64 frame)
{
	return c->control == FLOOD_CONTROL_RANDOM ? random_word(c, frame * 2) >> 48 & 0xff : c->control;
}

/* ---- frames out ---- */

static __always_inline void copy_template(const struct flood_config *c, __u8 *to)
{
	__u32 bytes = c->frame_bytes, at = 0;

#pragma unroll
	for (int i = 0; i < FLOOD_FRAME_BYTES / 8; i++) {
		if (at + 8 > bytes)
			break;
		*(__u64 *)(to + at) = c->frame[i];
		at += 8;
	}
	/* Every frame has an even length. */
	if (at + 4 <= bytes) {
		*(__u32 *)(to + at) = *(const __u32 *)((const __u8 *)c->frame + at);
		at += 4;
	}
	if (at + 2 <= bytes)
		*(__u16 *)(to + at) = *(const __u16 *)((const __u8 *)c->frame + at);
}

/* The checksum over `sum`, or one that is wrong and not the sum of the pseudo-header alone, which some take for right. */
static __always_inline __u16 checksum_of(const struct flood_config *c, __u64 sum, __u64 addresses)
{
	__u16 right = fold(sum), wrong = right ^ WRONG, partial = ~fold(c->pseudo_sum + addresses);

	if (c->checksum == FLOOD_CHECKSUM_RIGHT)
		return right;
	return wrong == partial ? (__u16)~wrong : wrong;
}

/* The TCP header of a frame, behind its template; `addresses` is the sum of what is random in the source address. */
static __always_inline void finish_tcp(const struct flood_config *c, __u8 *data, __u64 frame, __u64 random,
				       __u64 addresses)
{
	struct tcphdr *tcp = (void *)data + c->tcp_at;
	__u32 seq = sequence_of(c, frame), control = control_of(c, frame);
	__u32 ports = (__u16)(random >> 32);
	__u64 sum = c->tcp_sum + addresses;

	tcp->source = bpf_htons(c->first_port + (ports * c->ports >> 16));
	tcp->seq = bpf_htonl(seq);
	tcp->ack_seq = control & ACK ? bpf_htonl(seq ^ FLOOD_ACK_DIFFERS) : 0;
	if (c->checksum == FLOOD_CHECKSUM_NONE)
		return;
	sum += tcp->source;
	sum += tcp->seq;
	sum += tcp->ack_seq;
	if (c->control == FLOOD_CONTROL_RANDOM) {
		((__u8 *)tcp)[13] = control;
		sum += bpf_htons(control);
	}
	if (c->timestamp_at) {
		__u32 value = random_word(c, frame * 2 + 1) >> 32;

		*(__u32 *)(data + c->timestamp_at) = bpf_htonl(value);
		sum += bpf_htonl(value);
	}
	tcp->check = checksum_of(c, sum, addresses);
}

/* Writes frame number `frame`. 0 if there is no room for it. */
static __always_inline int write_frame(const struct flood_config *c, __u8 *data, __u8 *end, __u64 frame)
{
	__u64 random = random_word(c, frame * 2), addresses;
	__u32 low = c->source[3] | ((__u32)random & c->mask[3]);

	if (data + c->frame_bytes > end)
		return 0;
	copy_template(c, data);
	addresses = low;
	if (c->family == FLOOD_FAMILY_IPV4) {
		struct iphdr *ip = (void *)data + c->ip_at;
		__u64 sum = c->ip_sum + addresses;

		ip->saddr = low;
		if (c->fragment_at) {
			ip->id = bpf_htons((__u16)sequence_of(c, frame));
			sum += ip->id;
		}
		ip->check = fold(sum);
	} else {
		struct ipv6hdr *ip = (void *)data + c->ip_at;
		__u32 high = c->source[2] | ((__u32)random_word(c, frame * 2 + 1) & c->mask[2]);

		ip->saddr.s6_addr32[2] = high;
		ip->saddr.s6_addr32[3] = low;
		addresses += high;
		if (c->fragment_at)
			*(__u32 *)(data + c->fragment_at) = bpf_htonl(sequence_of(c, frame));
	}
	finish_tcp(c, data, frame, random, addresses);
	return 1;
}

static __always_inline int send_frame(const struct flood_config *c, struct xdp_md *ctx)
{
	__u32 first = 0, place;
	struct generate_schedule *plan = bpf_map_lookup_elem(&schedule, &first);
	struct flood_counters *mine = bpf_map_lookup_elem(&counters, &first);
	struct flood_progress *so_far = bpf_map_lookup_elem(&progress, &first);
	__u64 *end = bpf_map_lookup_elem(&reach, &first), *word, now_ns, frame;

	if (!plan || !mine || !so_far || !end)
		return XDP_ABORTED;
	/* Without an interval everything is due, whatever the time. */
	now_ns = plan->interval ? bpf_ktime_get_ns() : plan->start_ns;
	if (!is_due(plan, now_ns))
		return XDP_DROP;
	frame = so_far->before + plan->sent;
	place = (__u32)frame % FLOOD_WINDOW_FRAMES / 64;
	word = bpf_map_lookup_elem(&window, &place);
	if (!word || !write_frame(c, (void *)(long)ctx->data, (void *)(long)ctx->data_end, frame)) {
		mine->count[FLOOD_COUNT_FAILED]++;
		return XDP_ABORTED;
	}
	/* The first of 64 takes away what their places held. */
	if (frame % 64 == 0) {
		*word = 0;
		*end = frame + 64;
	}
	count_sent(plan, now_ns);
	so_far->last_ns = now_ns;
	return bpf_redirect(c->ifindex, 0);
}

/* ---- answers in ---- */

/* Counts an answer to the frame with this number, if that is one of the last; 0 if not. */
static __always_inline int answers(__u32 frame, struct flood_counters *mine)
{
	__u32 first = 0, place = frame % FLOOD_WINDOW_FRAMES / 64;
	__u64 *word = bpf_map_lookup_elem(&window, &place), *end = bpf_map_lookup_elem(&reach, &first);
	__u64 bit = 1ULL << frame % 64;

	if (!word || !end || (__u32)*end - frame - 1 >= FLOOD_WINDOW_FRAMES)
		return 0;
	if (__sync_fetch_and_or(word, bit) & bit)
		mine->count[FLOOD_COUNT_REPEATED]++;
	else
		mine->count[FLOOD_COUNT_ANSWERED]++;
	return 1;
}

/*
 * A RST to what had no ACK acknowledges the numbers that the frame took, a SYN and a FIN one each; one to what had an ACK
 * has its acknowledgment number (RFC 9293 3.10.7.1).
 */
static __always_inline void reset_arrives(const struct flood_config *c, const struct tcphdr *tcp, __u32 control,
					  struct flood_counters *mine)
{
	__u32 ack = bpf_ntohl(tcp->ack_seq);

	if (!(control & ACK)) {
		answers(frame_of(c, bpf_ntohl(tcp->seq) ^ FLOOD_ACK_DIFFERS), mine);
		return;
	}
#pragma unroll
	for (__u32 numbers = 0; numbers <= MOST_NUMBERS; numbers++) {
		__u32 frame = frame_of(c, ack - numbers), sent = control_of(c, frame);

		if (!!(sent & SYN) + !!(sent & FIN) == numbers && answers(frame, mine))
			return;
	}
}

static __always_inline void segment_arrives(const struct flood_config *c, const struct tcphdr *tcp,
					    struct flood_counters *mine)
{
	__u32 control = ((const __u8 *)tcp)[13];

	if (control & RST) {
		mine->count[FLOOD_COUNT_RST]++;
		reset_arrives(c, tcp, control, mine);
	} else if ((control & (SYN | ACK)) == (SYN | ACK)) {
		mine->count[FLOOD_COUNT_SYN_ACK]++;
		answers(frame_of(c, bpf_ntohl(tcp->ack_seq) - 1), mine);
	} else if ((control & (SYN | ACK | FIN)) == ACK) {
		mine->count[FLOOD_COUNT_CHALLENGE_ACK]++;
	} else {
		mine->count[FLOOD_COUNT_OTHER]++;
	}
}

/* What arrived. */
enum arrival {
	ELSE, /* nothing that is known here */
	FROM_TARGET, /* a segment of the target's port, to somebody else */
	ANSWER, /* a segment of the target's port to an address and port of the flood */
	NO_SEGMENT /* from the target to an address of the flood, and not TCP */
};

/* Whether a segment of the target's belongs to the flood: `ours` if its address does. */
static __always_inline enum arrival segment_for(const struct flood_config *c, const struct tcphdr *tcp, int ours)
{
	if (tcp->source != c->target_port)
		return ELSE;
	return ours && bpf_ntohs(tcp->dest) - c->first_port < c->ports ? ANSWER : FROM_TARGET;
}

static __always_inline enum arrival read_ipv4(const struct flood_config *c, const struct iphdr *ip, const void *end,
					      const struct tcphdr **tcp)
{
	int ours;

	*tcp = (const void *)(ip + 1);
	if ((const void *)(*tcp + 1) > end || *(const __u8 *)ip != 0x45 || ip->saddr != c->target[3])
		return ELSE;
	ours = !((ip->daddr ^ c->source[3]) & ~c->mask[3]);
	if (ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(FRAGMENT))
		return ours ? NO_SEGMENT : ELSE;
	return segment_for(c, *tcp, ours);
}

static __always_inline enum arrival read_ipv6(const struct flood_config *c, const struct ipv6hdr *ip, const void *end,
					      const struct tcphdr **tcp)
{
	const __u32 *from = ip->saddr.s6_addr32, *to = ip->daddr.s6_addr32;
	int ours;

	*tcp = (const void *)(ip + 1);
	if ((const void *)(*tcp + 1) > end || ip->version != 6)
		return ELSE;
	if (from[0] != c->target[0] || from[1] != c->target[1] || from[2] != c->target[2] || from[3] != c->target[3])
		return ELSE;
	ours = to[0] == c->source[0] && to[1] == c->source[1] && !((to[2] ^ c->source[2]) & ~c->mask[2]) &&
	       !((to[3] ^ c->source[3]) & ~c->mask[3]);
	if (ip->nexthdr != IPPROTO_TCP)
		return ours ? NO_SEGMENT : ELSE;
	return segment_for(c, *tcp, ours);
}

/* Reads a frame with no VLAN tag or one. */
static __always_inline enum arrival read_frame(const struct flood_config *c, struct xdp_md *ctx,
					       const struct tcphdr **tcp)
{
	const __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const __be16 *type = (const void *)(data + 2 * ETH_ALEN);

	if ((const void *)(type + 3) > (const void *)end)
		return ELSE;
	if (*type == bpf_htons(ETH_P_8021Q) || *type == bpf_htons(ETH_P_8021AD))
		type += 2;
	if (c->family == FLOOD_FAMILY_IPV4)
		return *type == bpf_htons(ETH_P_IP) ? read_ipv4(c, (const void *)(type + 1), end, tcp) : ELSE;
	return *type == bpf_htons(ETH_P_IPV6) ? read_ipv6(c, (const void *)(type + 1), end, tcp) : ELSE;
}

static __always_inline int receive(const struct flood_config *c, struct xdp_md *ctx)
{
	__u32 first = 0;
	struct flood_counters *mine = bpf_map_lookup_elem(&counters, &first);
	const struct tcphdr *tcp;

	if (!mine)
		return XDP_PASS;
	switch (read_frame(c, ctx, &tcp)) {
	case ANSWER:
		segment_arrives(c, tcp, mine);
		return XDP_DROP;
	case NO_SEGMENT:
		mine->count[FLOOD_COUNT_OTHER]++;
		return XDP_DROP;
	case FROM_TARGET:
		return c->relay ? bpf_redirect(c->relay, 0) : XDP_PASS;
	case ELSE:
		break;
	}
	return XDP_PASS;
}

SEC("xdp")
int handfast_flood(struct xdp_md *ctx)
{
	const struct flood_config *c = settings();

	if (ctx->ingress_ifindex == c->ifindex)
		return receive(c, ctx);
	if (c->relay && ctx->ingress_ifindex == c->relay)
		return bpf_redirect(c->ifindex, 0);
	return send_frame(c, ctx);
}

/* No helper used here asks for the GPL. */
char LICENSE[] SEC("license") = "MIT";
