// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The generating program: the client's side of very many short TCP connections to one target, below any socket.
 *
 * One program with two duties, told apart by where a frame seems to arrive:
 *
 * - A frame of BPF_PROG_RUN with live frames arrives on the loopback interface. If a connection is due, the program takes
 *   the next four-tuple, writes a SYN over whatever the frame holds, and redirects it out of the interface that it is
 *   attached to. If none is, it drops the frame, so that one call keeps the schedule over thousands of frames. It has
 *   to: each call makes a page pool, and to end one the kernel walks over all that still have a frame under way
 *   (mem_allocator_disconnect() in net/core/xdp.c).
 * - A frame that arrives on its interface is answered in place if it is a segment from the target to one of our
 *   four-tuples, and passed on untouched if not. Answers are redirected, too: what XDP_TX puts into the ring of a veth
 *   peer without an XDP program waits there until something else wakes the peer (veth_xdp_flush() in
 *   drivers/net/veth.c).
 *
 * One program and not two, because BPF_PROG_RUN waits twice for an RCU grace period, 10 ms or more each, if it runs a
 * program repeatedly that is attached nowhere (bpf_prog_test_run_xdp() enters it into the dispatcher and takes it out).
 *
 * A veth pair runs the receiver on the core of the sender, so that a target's core would do our work. If one core is to
 * do all of it, what arrives is handed over to that core (cpumap), where `handfast_answer` does the same.
 *
 * What a segment means for its connection is in generate_tcp.h.
 *
 * Not here, on purpose: retransmission (what is lost is to be counted), a check of the target's checksums (a kernel on
 * the other end of a veth pair leaves them partial), receive windows and reassembly: text from the target is
 * acknowledged as if everything before it had arrived. VLAN tags, IP options, fragments and extension headers are not
 * understood; such frames are passed.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "generate.h"
#include "generate_tcp.h"
#include "send.h"

/* IPv4: more fragments, or a fragment offset. */
#define FRAGMENT 0x3fff

/* Read-only data: the verifier knows the values, and leaves out what they rule out. */
const volatile struct generate_config config = {};

/* The word of each connection, by the number of its four-tuple. The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} connections SEC(".maps");

/* When connections are due. One thread sends, so neither this nor the next needs an atomic operation. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct generate_schedule);
} schedule SEC(".maps");

/* The four-tuple whose turn is next. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct generate_counters);
} counters SEC(".maps");

/* The core that answers, with handfast_answer as its program. The loader sets size and element, if there is to be one. */
struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpf_cpumap_val);
} cores SEC(".maps");

static __always_inline const struct generate_config *settings(void)
{
	return hidden((const void *)&config);
}

static __always_inline int is_ipv4(const struct generate_config *c)
{
	return c->family == GENERATE_FAMILY_IPV4;
}

/* ---- SYNs ---- */

/* Writes the source and the sequence number of a SYN over a copy of its template, and makes the checksums whole. */
static __always_inline void finish_syn(const struct generate_config *c, struct tcphdr *tcp, __u32 address, __u32 port,
				       __u32 seq)
{
	tcp->source = bpf_htons(port);
	tcp->seq = bpf_htonl(seq);
	tcp->check = fold((__u64)c->syn_tcp_sum + address + tcp->source + tcp->seq);
}

static __always_inline int write_syn(const struct generate_config *c, __u8 *data, __u8 *end, __u32 tuple, __u32 seq)
{
	__u32 address = bpf_htonl(c->first_source + tuple / c->ports);
	__u32 port = c->first_port + tuple % c->ports;

	if (is_ipv4(c)) {
		struct iphdr *ip = (void *)data + ETH_HLEN;

		if (data + GENERATE_SYN_BYTES_IPV4 > end)
			return 0;
		copy(data, c->syn, GENERATE_SYN_BYTES_IPV4);
		ip->saddr = address;
		ip->check = fold((__u64)c->syn_ip_sum + address);
		finish_syn(c, (void *)(ip + 1), address, port, seq);
	} else {
		struct ipv6hdr *ip = (void *)data + ETH_HLEN;

		if (data + GENERATE_SYN_BYTES_IPV6 > end)
			return 0;
		copy(data, c->syn, GENERATE_SYN_BYTES_IPV6);
		ip->saddr.s6_addr32[3] = address;
		finish_syn(c, (void *)(ip + 1), address, port, seq);
	}
	return 1;
}

static __always_inline int open_connection(const struct generate_config *c, struct xdp_md *ctx)
{
	__u32 first = 0, tuple;
	struct generate_schedule *plan = bpf_map_lookup_elem(&schedule, &first);
	__u32 *turn = bpf_map_lookup_elem(&next, &first);
	struct generate_counters *mine = bpf_map_lookup_elem(&counters, &first);
	__u64 *word, now_ns = bpf_ktime_get_ns(), before;

	if (!plan || !turn || !mine)
		return XDP_ABORTED;
	if (!is_due(plan, now_ns))
		return XDP_DROP;
	tuple = *turn;
	word = bpf_map_lookup_elem(&connections, &tuple);
	if (!word || !write_syn(c, (void *)(long)ctx->data, (void *)(long)ctx->data_end, tuple,
				initial_sequence(c, tuple, now_ns)))
		return XDP_ABORTED;
	*turn = tuple + 1 < c->tuples ? tuple + 1 : 0;
	before = __sync_lock_test_and_set(word, now_ns << GENERATE_STATE_BITS | GENERATE_SYN_SENT) & STATE_MASK;
	count_sent(plan, now_ns);
	mine->count[GENERATE_COUNT_ATTEMPTED]++;
	if (before == GENERATE_SYN_SENT || before == GENERATE_ESTABLISHED || before == GENERATE_LAST_ACK)
		mine->count[GENERATE_COUNT_OVERTAKEN]++;
	return bpf_redirect(c->ifindex, 0);
}

/* ---- answers ---- */

/* Our end and the sequence numbers of a segment; 0 if it is not from the target to one of our four-tuples. */
static __always_inline int read_tcp(const struct generate_config *c, const struct tcphdr *tcp, __u32 address,
				    __u32 tcp_bytes, struct segment *out)
{
	__u32 source = bpf_ntohl(address) - c->first_source;
	__u32 port = bpf_ntohs(tcp->dest) - c->first_port;

	if (tcp->source != c->target_port || source >= c->sources || port >= c->ports)
		return 0;
	out->tuple = source * c->ports + port;
	out->address = address;
	out->port = tcp->dest;
	out->seq = bpf_ntohl(tcp->seq);
	out->ack = bpf_ntohl(tcp->ack_seq);
	out->control = ((const __u8 *)tcp)[13];
	/* A header that does not fit its segment says nothing; it shows as no control bit at all. */
	if (tcp->doff < 5 || tcp->doff * 4U > tcp_bytes)
		out->control = 0;
	else
		out->text_bytes = tcp_bytes - tcp->doff * 4;
	return 1;
}

static __always_inline int read_ipv4(const struct generate_config *c, const __u8 *data, const __u8 *end,
				     struct segment *out)
{
	const struct ethhdr *ethernet = (const void *)data;
	const struct iphdr *ip = (const void *)(ethernet + 1);

	if (data + GENERATE_ANSWER_BYTES_IPV4 > end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	if (*(const __u8 *)ip != 0x45 || ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(FRAGMENT) ||
	    ip->saddr != c->target[3] || bpf_ntohs(ip->tot_len) < sizeof(*ip))
		return 0;
	return read_tcp(c, (const void *)(ip + 1), ip->daddr, bpf_ntohs(ip->tot_len) - sizeof(*ip), out);
}

static __always_inline int read_ipv6(const struct generate_config *c, const __u8 *data, const __u8 *end,
				     struct segment *out)
{
	const struct ethhdr *ethernet = (const void *)data;
	const struct ipv6hdr *ip = (const void *)(ethernet + 1);
	const __u32 *from = ip->saddr.s6_addr32, *to = ip->daddr.s6_addr32;

	if (data + GENERATE_ANSWER_BYTES_IPV6 > end || ethernet->h_proto != bpf_htons(ETH_P_IPV6))
		return 0;
	if (ip->version != 6 || ip->nexthdr != IPPROTO_TCP)
		return 0;
	if (from[0] != c->target[0] || from[1] != c->target[1] || from[2] != c->target[2] || from[3] != c->target[3])
		return 0;
	if (to[0] != c->source[0] || to[1] != c->source[1] || to[2] != c->source[2])
		return 0;
	return read_tcp(c, (const void *)(ip + 1), to[3], bpf_ntohs(ip->payload_len), out);
}

/* Writes all of the answer's TCP header over a copy of its template. */
static __always_inline void finish_answer(const struct generate_config *c, struct tcphdr *tcp,
					  const struct segment *to, const struct answer *answer)
{
	tcp->source = to->port;
	tcp->seq = bpf_htonl(answer->seq);
	tcp->ack_seq = answer->control & ACK ? bpf_htonl(answer->ack) : 0;
	((__u8 *)tcp)[13] = answer->control;
	tcp->check = fold((__u64)c->answer_tcp_sum + to->address + tcp->source + tcp->seq + tcp->ack_seq +
			  bpf_htons(answer->control));
}

/* Writes the answer over the frame that it answers, which is at least as long, and sends it back. */
static __always_inline int send(const struct generate_config *c, struct xdp_md *ctx, const struct segment *to,
				const struct answer *answer)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__s64 bytes = end - data, spare;

	/* The compiler must not rearrange the difference of two pointers, the only use of them that the verifier knows. */
	asm("" : "+r"(bytes));
	if (is_ipv4(c)) {
		struct iphdr *ip = (void *)data + ETH_HLEN;

		if (data + GENERATE_ANSWER_BYTES_IPV4 > end)
			return XDP_DROP;
		copy(data, c->answer, GENERATE_ANSWER_BYTES_IPV4);
		ip->saddr = to->address;
		ip->check = fold((__u64)c->answer_ip_sum + to->address);
		finish_answer(c, (void *)(ip + 1), to, answer);
		/* Up to the length of the shortest Ethernet frame what follows is padding. */
		spare = bytes - ETH_ZLEN;
	} else {
		struct ipv6hdr *ip = (void *)data + ETH_HLEN;

		if (data + GENERATE_ANSWER_BYTES_IPV6 > end)
			return XDP_DROP;
		copy(data, c->answer, GENERATE_ANSWER_BYTES_IPV6);
		ip->saddr.s6_addr32[3] = to->address;
		finish_answer(c, (void *)(ip + 1), to, answer);
		spare = bytes - GENERATE_ANSWER_BYTES_IPV6;
	}
	if (spare > 0 && bpf_xdp_adjust_tail(ctx, -spare))
		return XDP_DROP;
	return bpf_redirect(c->ifindex, 0);
}

/* True, and `out` filled, if a frame is a segment from the target to one of our four-tuples. */
static __always_inline int read_frame(const struct generate_config *c, const struct xdp_md *ctx, struct segment *out)
{
	const __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return is_ipv4(c) ? read_ipv4(c, data, end, out) : read_ipv6(c, data, end, out);
}

static __always_inline int answer_frame(const struct generate_config *c, struct xdp_md *ctx)
{
	struct segment segment = {};
	struct answer answer = {};
	struct generate_counters *mine;
	__u32 first = 0;
	__u64 *word;

	if (!read_frame(c, ctx, &segment))
		return XDP_PASS;
	mine = bpf_map_lookup_elem(&counters, &first);
	word = bpf_map_lookup_elem(&connections, &segment.tuple);
	if (!mine || !word)
		return XDP_PASS;
	mine->count[GENERATE_COUNT_RECEIVED]++;
	arrive(c, word, &segment, &answer, mine);
	if (!answer.control)
		return XDP_DROP;
	mine->count[GENERATE_COUNT_ANSWERED]++;
	return send(c, ctx, &segment, &answer);
}

/* Runs on the core that frames were handed over to. */
SEC("xdp/cpumap")
int handfast_answer(struct xdp_md *ctx)
{
	return answer_frame(settings(), ctx);
}

SEC("xdp")
int handfast_generate(struct xdp_md *ctx)
{
	const struct generate_config *c = settings();
	struct segment segment = {};

	if (ctx->ingress_ifindex != c->ifindex)
		return open_connection(c, ctx);
	if (!c->hand_over)
		return answer_frame(c, ctx);
	return read_frame(c, ctx, &segment) ? bpf_redirect_map(&cores, c->core, XDP_DROP) : XDP_PASS;
}

/* No helper used here asks for the GPL. */
char LICENSE[] SEC("license") = "MIT";
