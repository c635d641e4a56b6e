// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The steering program: which frames of an interface go to AF_XDP sockets, which stay with the kernel, which end here.
 *
 * A frame is redirected to the AF_XDP socket of its receive queue if it holds a whole TCP segment for a steered
 * endpoint, or from the one peer whose replies are steered, and carries the interface's own MAC address. Everything that
 * is not for an endpoint is the kernel's and is passed on untouched. What is for an endpoint and cannot be taken is
 * dropped: the kernel has no listener there, so its TCP would answer RST and kill a connection that is ours.
 *
 * What happens here, and what the kernel does with the same frame (net/ipv4/ip_input.c and tcp_ipv4.c,
 * net/ipv6/ip6_input.c, exthdrs.c and reassembly.c; tried on Linux 6.18):
 *
 *   not IP, three or more tags        Pass: another protocol's, or a stack of VLAN devices'. The kernel steps over any
 *                                     number of priority tags (VLAN 0), so it would answer RST behind three of them, to
 *                                     their sender.
 *   ends before the ports             Pass: discarded there without an answer (a first IPv6 fragment without its whole
 *                                     header chain gets an ICMPv6 Parameter Problem, RFC 7112).
 *   version or IHL that cannot be     Pass: discarded there without an answer; no port can be found to decide by.
 *   other protocols                   Pass: UDP, ICMP, neighbour discovery, tunnels, ESP, AH, and numbers that are not
 *                                     assigned (an ICMP error). What an IPsec association of the kernel unwraps is the
 *                                     kernel's.
 *   later fragment                    Pass: kept there for reassembly, which cannot complete if the first one was
 *                                     dropped here and times out without an answer because the first one is missing.
 *   first fragment, atomic fragment   Drop if for an endpoint: it would be reassembled, reach TCP, and get a RST.
 *   routing header, segments left     Pass: forwarded or refused there; the destination is only a stop on the way.
 *   extension headers not followed    The port is unknown, so the address decides. Drop if an endpoint may have it,
 *                                     pass if none can. These are: too many (the kernel has no limit and gets to TCP:
 *                                     RST), hop-by-hop options that are not first, Shim6 (may carry TCP) and the
 *                                     experimental numbers (may carry anything): the kernel answers ICMPv6 Parameter
 *                                     Problem to these three. Mobility (135) and HIP (139) headers are protocols of
 *                                     their own with nothing behind them: pass.
 *   another destination MAC address   Pass: TCP there discards what is not PACKET_HOST; bridges and macvlans want it.
 *   bad IP length or TCP data offset  Drop if for an endpoint: discarded there, too, but here it is counted.
 *   from a denied prefix              Drop if for an endpoint, whatever else is wrong with it: who is denied gets no answer.
 *   SYN beyond its prefix's rate      Drop if for an endpoint (sources.h).
 *   no socket on this queue           Pass: the kernel's TCP answers RST. This counter should stay at 0.
 *
 *   SYN, while SYNs are answered here Transmit a SYN-ACK with a cookie if it is plain, drop it if a checksum is wrong,
 *                                     redirect it if not (cookie.h, answer.h).
 *
 * Not here, on purpose: state of connections; and checksums, but for that of a SYN that is answered. A
 * VLAN tag that the NIC took out of the frame is invisible here; switch rx-vlan-offload off where tags matter. An
 * endpoint of any address takes forwarded traffic too; on a host that forwards, give endpoints addresses.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "answer.h"
#include "contract.h"
#include "parse.h"
#include "sources.h"

/* One configuration word. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct steer_config);
} config SEC(".maps");

/* What is known of each port: 16 KiB that stay in the cache, and all that a frame for no endpoint costs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STEER_PORT_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} ports SEC(".maps");

/* The endpoints with an address; the value means nothing. The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct steer_endpoint);
	__type(value, __u8);
} endpoints SEC(".maps");

/* What a peer answers; looked at only if the configuration says so. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct steer_replies);
} replies SEC(".maps");

/* Receive queue to AF_XDP socket. The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

/* One block of counters a CPU: one look-up reaches them all, and one system call reads them all. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct steer_counters);
} counters SEC(".maps");

static __always_inline int mac_is_ours(const struct steer_config *settings, const void *frame)
{
	const __u16 *mac = frame;

	return settings->flags & STEER_ANY_MAC ||
	       (mac[0] == settings->mac[0] && mac[1] == settings->mac[1] && mac[2] == settings->mac[2]);
}

static __always_inline int has_row(const __u32 *addr, __u8 family, __u16 port)
{
	struct steer_endpoint key = {
		.addr = { addr[0], addr[1], addr[2], addr[3] },
		.port = port,
		.family = family,
	};

	return bpf_map_lookup_elem(&endpoints, &key) != 0;
}

/* True if address and port are an endpoint's. Port 0 never is: its bits are never set. */
static __always_inline int is_endpoint(const __u32 *addr, __u8 family, __u16 port)
{
	__u32 index = port / STEER_PORTS_PER_WORD;
	__u32 shift = port % STEER_PORTS_PER_WORD * STEER_BITS_PER_PORT;
	const __u64 *word = bpf_map_lookup_elem(&ports, &index);
	__u64 known;

	if (!word)
		return 0;
	known = *word >> shift;
	if (known & STEER_PORT_ANY)
		return 1;
	return known & STEER_PORT_EXACT && has_row(addr, family, port);
}

static __always_inline int is_masked(const __u32 *addr, const __u32 *mask, const __u32 *prefix)
{
	return ((addr[0] & mask[0]) == prefix[0]) & ((addr[1] & mask[1]) == prefix[1]) &
	       ((addr[2] & mask[2]) == prefix[2]) & ((addr[3] & mask[3]) == prefix[3]);
}

/* True if the peer that connections were opened to answers one of them, by its addresses and ports. */
static __always_inline int is_reply(const struct steer_config *settings, const struct parsed *packet)
{
	const struct steer_replies *wanted;
	__u32 first = 0;

	if (!(settings->flags & STEER_REPLIES))
		return 0;
	wanted = bpf_map_lookup_elem(&replies, &first);
	return wanted && packet->version == wanted->family && packet->src_port == wanted->peer_port &&
	       packet->dst_port >= wanted->first_port && packet->dst_port <= wanted->last_port &&
	       packet->src[0] == wanted->peer[0] && packet->src[1] == wanted->peer[1] &&
	       packet->src[2] == wanted->peer[2] && packet->src[3] == wanted->peer[3] &&
	       is_masked(packet->dst, wanted->mask, wanted->prefix);
}

/*
 * The outcome of a frame, but for what only the redirect itself can tell, and but for a SYN that may be answered here:
 * STEER_TX_COOKIE says that it is one.
 */
static __always_inline enum steer_counter decide(const struct steer_config *settings, struct steer_counters *mine,
						 const __u8 *data, const __u8 *end, struct parsed *packet)
{
	enum parse_end parsed = parse_frame(data, end, packet);
	int answers;

	switch (parsed) {
	case PARSE_NOT_IP:
		return STEER_PASS_NOT_IP;
	case PARSE_TOO_MANY_TAGS:
		return STEER_PASS_TOO_MANY_TAGS;
	case PARSE_TRUNCATED:
		return STEER_PASS_TRUNCATED;
	case PARSE_BAD_IP_HEADER:
		return STEER_PASS_BAD_IP_HEADER;
	case PARSE_NOT_TCP:
		return STEER_PASS_NOT_TCP;
	case PARSE_LATER_FRAGMENT:
		return STEER_PASS_LATER_FRAGMENT;
	case PARSE_IN_TRANSIT:
		return STEER_PASS_IN_TRANSIT;
	case PARSE_TCP:
	case PARSE_UNREADABLE_CHAIN:
		break;
	}
	if (!mac_is_ours(settings, data))
		return STEER_PASS_NOT_FOR_US;
	if (parsed == PARSE_UNREADABLE_CHAIN) {
		int ours = settings->flags & STEER_ANY_ADDRESS || has_row(packet->dst, packet->version, 0);

		return ours ? STEER_DROP_EXTENSION_HEADER : STEER_PASS_NOT_AN_ENDPOINT;
	}
	answers = is_endpoint(packet->dst, packet->version, packet->dst_port);
	if (answers) {
		if (is_denied(settings, packet))
			return STEER_DROP_DENIED;
	} else if (!is_reply(settings, packet)) {
		return STEER_PASS_NOT_AN_ENDPOINT;
	}
	switch ((enum parse_fault)packet->fault) {
	case PARSE_FAULT_FRAGMENT:
		return STEER_DROP_FRAGMENT;
	case PARSE_FAULT_IP_LENGTH:
		return STEER_DROP_BAD_IP_LENGTH;
	case PARSE_FAULT_TCP_HEADER:
		return STEER_DROP_BAD_TCP_HEADER;
	case PARSE_FAULT_NONE:
		break;
	}
	if ((packet->control & (PARSE_SYN | PARSE_ACK)) == PARSE_SYN && answers) {
		if (settings->flags & STEER_SYN_RATE && is_over_rate(mine, packet))
			return STEER_DROP_SYN_RATE;
		if (settings->flags & STEER_ANSWER)
			return STEER_TX_COOKIE;
	}
	return STEER_REDIRECTED;
}

/*
 * Answers a SYN the short way, if SYNs are answered and their sources mean nothing. STEER_REDIRECTED says nothing but that it was not
 * done: what becomes of the frame is decided the long way then.
 */
static __always_inline enum steer_counter answer_short(struct xdp_md *ctx, const struct steer_config *settings)
{
	const __u8 *data = (const __u8 *)(long)ctx->data, *end = (const __u8 *)(long)ctx->data_end;
	__u32 which = settings->flags & STEER_SECOND_COOKIES ? 1 : 0, addr[4];
	const struct steer_cookies *how;
	const __u32 *ip = (const void *)(data + COOKIE_ETHER_BYTES);
	__u16 ethertype;

	if ((settings->flags & (STEER_ANSWER | STEER_FILTER | STEER_SYN_RATE)) != STEER_ANSWER ||
	    data + usual_tcp_at(1) + COOKIE_TCP_WORDS * 4 > end || !mac_is_ours(settings, data))
		return STEER_REDIRECTED;
	how = bpf_map_lookup_elem(&cookies, &which);
	if (!how)
		return STEER_REDIRECTED;
	ethertype = ((const __u16 *)data)[6];
	if (ethertype == COOKIE_BE16(ETH_P_IP)) {
		parse_map_ipv4(addr, ip[4]);
		if (!is_endpoint(addr, 4, COOKIE_BE16(*(const __u16 *)(data + usual_tcp_at(1) + 2))))
			return STEER_REDIRECTED;
		return answer_usual(ctx, how, 1);
	}
	if (ethertype == COOKIE_BE16(ETH_P_IPV6)) {
		if (data + usual_tcp_at(0) + COOKIE_TCP_WORDS * 4 > end ||
		    !is_endpoint(ip + 6, 6, COOKIE_BE16(*(const __u16 *)(data + usual_tcp_at(0) + 2))))
			return STEER_REDIRECTED;
		return answer_usual(ctx, how, 0);
	}
	return STEER_REDIRECTED;
}

/* What becomes of a frame that was not answered the short way. */
static __always_inline enum steer_counter outcome_of(struct xdp_md *ctx, const struct steer_config *settings,
						     struct steer_counters *mine)
{
	struct parsed packet = {};
	enum steer_counter outcome;

	outcome = decide(settings, mine, (const __u8 *)(long)ctx->data, (const __u8 *)(long)ctx->data_end, &packet);
	return outcome == STEER_TX_COOKIE ? answer_syn(ctx, settings, &packet) : outcome;
}

SEC("xdp")
int handfast_steer(struct xdp_md *ctx)
{
	__u32 first = 0;
	const struct steer_config *settings = bpf_map_lookup_elem(&config, &first);
	struct steer_counters *mine = bpf_map_lookup_elem(&counters, &first);
	enum steer_counter outcome;
	int action = XDP_PASS;

	/* An array map always has its only element; the verifier wants to see the question. */
	if (!settings || !mine)
		return XDP_PASS;
	outcome = answer_short(ctx, settings);
	if (outcome != STEER_TX_COOKIE)
		outcome = outcome_of(ctx, settings, mine);
	if (outcome == STEER_REDIRECTED) {
		action = bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
		if (action != XDP_REDIRECT)
			outcome = STEER_PASS_NO_SOCKET;
	} else if (outcome == STEER_TX_COOKIE) {
		action = settings->flags & STEER_REDIRECT_ANSWERS ? (int)bpf_redirect(ctx->ingress_ifindex, 0) :
									XDP_TX;
	} else if (outcome >= STEER_DROP_FRAGMENT) {
		action = XDP_DROP;
	}
	mine->count[STEER_SEEN]++;
	if (outcome < STEER_COUNTERS)
		mine->count[outcome]++;
	return action;
}

/*
 * Says what the kernel's clock of ticks shows, modulo 2^32: user space has no other way to ask. Run by the loader, attached nowhere.
 */
SEC("xdp")
int handfast_tick(struct xdp_md *ctx)
{
	return (int)bpf_jiffies64();
}

/* No helper used here asks for the GPL. */
char LICENSE[] SEC("license") = "MIT";
