// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The ends of a packet ceiling, in the least that an XDP program can do: one that counts and drops what arrives, one that
 * sends the frames of BPF_PROG_RUN out of an interface, and one that turns every SYN for a port into its SYN-ACK and sends it
 * back. `handfast lab packets` loads one of them (src/bench/packets.rs).
 *
 * What is not here: a cookie, an option, a check of a checksum. The SYN-ACK has the SYN's sequence number and options.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "send.h"

/* Frames dropped, or SYNs answered, counted on each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counted SEC(".maps");

/* The interface to send out of, or the port whose SYNs are answered, in host byte order; set before loading. */
const volatile __u32 parameter = 0;

/* TCP control bits as they stand in the header's fourteenth byte. */
#define CONTROLS 0x17
#define SYN 0x02
#define ACK 0x10

static __always_inline void count(void)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&counted, &key);

	if (count)
		*count += 1;
}

SEC("xdp")
int handfast_drop(struct xdp_md *ctx)
{
	count();
	return XDP_DROP;
}

SEC("xdp")
int handfast_send(struct xdp_md *ctx)
{
	return (int)bpf_redirect(parameter, 0);
}

SEC("xdp")
int handfast_answer_syns(struct xdp_md *ctx)
{
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u8 mac[ETH_ALEN];
	__be32 address;
	__be16 port;

	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end || ethernet->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	if (*(__u8 *)ip != 0x45 || ip->protocol != IPPROTO_TCP || tcp->dest != bpf_htons(parameter) ||
	    (((__u8 *)tcp)[13] & CONTROLS) != SYN)
		return XDP_PASS;
	__builtin_memcpy(mac, ethernet->h_dest, ETH_ALEN);
	__builtin_memcpy(ethernet->h_dest, ethernet->h_source, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, mac, ETH_ALEN);
	address = ip->daddr;
	ip->daddr = ip->saddr;
	ip->saddr = address;
	port = tcp->dest;
	tcp->dest = tcp->source;
	tcp->source = port;
	/* What changes places changes no sum: the ACK is new, and its number, which was 0. */
	tcp->ack_seq = bpf_htonl(bpf_ntohl(tcp->seq) + 1);
	((__u8 *)tcp)[13] |= ACK;
	tcp->check = fold((__u64)(__u16)~tcp->check + tcp->ack_seq + bpf_htons(ACK));
	count();
	return XDP_TX;
}

/* No helper used here asks for the GPL. */
char LICENSE[] SEC("license") = "MIT";
