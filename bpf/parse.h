/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From the bytes of a frame to the addresses and ports of a TCP segment, or to the reason why there are none.
 *
 * Here: Ethernet, up to two VLAN tags (802.1Q, 802.1ad), IPv4 with options, IPv6 with hop-by-hop, routing, fragment and
 * destination options headers, and as much of TCP as steering needs. Pure functions over [data, end) that use nothing
 * but kernel UAPI headers, so the same lines also compile for the host and can be fuzzed there.
 * Not here, on purpose: checksums, the meaning of IP options and TCP options (the engine checks them), and what to do with
 * a frame (steer.bpf.c).
 *
 * Bounds are checked as `pointer + size > end`, the only form that the verifier learns a bound from. Headers are read
 * where they lie, at any alignment.
 */
#ifndef HANDFAST_PARSE_H
#define HANDFAST_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/types.h>

#define PARSE_FUNCTION static inline __attribute__((always_inline))

/* VLAN tags that are stepped over: one 802.1ad service tag and one 802.1Q customer tag, or any two. */
#define PARSE_TAGS_MAX 2
/* IPv6 extension headers that are stepped over. RFC 8200 4.1 recommends an order with at most five of those here. */
#define PARSE_EXTENSION_HEADERS_MAX 8
/* Every IPv6 extension header has at least this many bytes (RFC 8200 4). */
#define PARSE_EXTENSION_HEADER_BYTES 8

/* RFC 791 3.1, RFC 8200 4.5: names that the UAPI headers lack. */
#define PARSE_IPV4_MORE_FRAGMENTS 0x2000
#define PARSE_IPV4_FRAGMENT_OFFSET 0x1fff
#define PARSE_IPV6_FRAGMENT_OFFSET 0xfff8

/* Extension headers by IANA's list that may hide any protocol behind them and that are not understood here. */
#define PARSE_NEXT_HEADER_SHIM6 140
#define PARSE_NEXT_HEADER_EXPERIMENT_1 253
#define PARSE_NEXT_HEADER_EXPERIMENT_2 254

/* Control bits of a TCP header (RFC 9293 3.1). */
#define PARSE_SYN 0x02
#define PARSE_ACK 0x10
/* All of them but ECE and CWR, by which a SYN asks for explicit congestion notification (RFC 3168). */
#define PARSE_CONTROL_BITS 0x3f
/* Where a TCP header has its fields. */
#define PARSE_SEQ_AT 4
#define PARSE_OFFSET_AT 12
#define PARSE_CONTROL_AT 13
#define PARSE_CHECKSUM_AT 16

/* Where parsing a frame ended. */
enum parse_end {
	PARSE_TCP, /* destination address and port are known */
	PARSE_UNREADABLE_CHAIN, /* IPv6: the destination address is known, the extension headers cannot be followed */
	PARSE_NOT_IP,
	PARSE_TOO_MANY_TAGS,
	PARSE_TRUNCATED, /* the frame ends before the ports */
	PARSE_BAD_IP_HEADER, /* version or header length cannot be, so nothing behind it can be found */
	PARSE_NOT_TCP,
	PARSE_LATER_FRAGMENT, /* a fragment, not the first: it has no ports */
	PARSE_IN_TRANSIT /* IPv6: a routing header has segments left, so the destination is a stop on the way */
};

/* Why a TCP segment whose ports are known cannot be taken; the first that applies, in this order. */
enum parse_fault {
	PARSE_FAULT_NONE,
	PARSE_FAULT_FRAGMENT, /* the first fragment, or an IPv6 atomic fragment (RFC 6946) */
	PARSE_FAULT_IP_LENGTH, /* the length field says more than the frame has, or less than its headers take */
	PARSE_FAULT_TCP_HEADER /* the TCP header does not fit its segment, or its data offset is below 5 words */
};

/* What is known of a frame: all of it at PARSE_TCP, the addresses and family at PARSE_UNREADABLE_CHAIN. */
struct parsed {
	__u32 dst[4]; /* network byte order, IPv4 as ::ffff:a.b.c.d */
	__u32 src[4];
	__u16 dst_port; /* host byte order */
	__u16 src_port;
	__u8 version; /* 4 or 6 */
	__u8 fault; /* enum parse_fault */
	__u8 control; /* the control bits, if there is no fault */
	__u8 tags; /* how many VLAN tags there are */
	__u8 plain; /* 1 if nothing stands between the IP header and TCP */
	__u16 tcp_bytes; /* how long the segment is with its header, if there is no fault */
};

struct parse_vlan_tag {
	__be16 tci;
	__be16 ethertype;
};

struct parse_fragment_header {
	__u8 nexthdr;
	__u8 reserved;
	__be16 frag_off;
	__be32 identification;
};

/* Byte order and no more: the helpers of asm/byteorder.h are inline assembly of the host on some architectures. */
PARSE_FUNCTION __u16 parse_be16(__be16 value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_bswap16(value);
#else
	return value;
#endif
}

/*
 * The ports, and whether the header fits `segment_bytes`, which is what the IP header leaves for TCP. A fault that was
 * found earlier stays.
 */
PARSE_FUNCTION enum parse_end parse_tcp(const __u8 *at, const __u8 *end, __s32 segment_bytes, struct parsed *out)
{
	const struct tcphdr *tcp = (const void *)at;

	if (at + 2 * sizeof(__be16) > end)
		return PARSE_TRUNCATED;
	out->dst_port = parse_be16(tcp->dest);
	out->src_port = parse_be16(tcp->source);
	if (out->fault != PARSE_FAULT_NONE)
		return PARSE_TCP;
	if (segment_bytes < 0)
		out->fault = PARSE_FAULT_IP_LENGTH;
	else if (at + sizeof(*tcp) > end)
		out->fault = PARSE_FAULT_TCP_HEADER;
	else if (tcp->doff < sizeof(*tcp) / 4 || tcp->doff * 4 > segment_bytes) {
		out->fault = PARSE_FAULT_TCP_HEADER;
	} else {
		out->control = at[PARSE_CONTROL_AT];
		out->tcp_bytes = segment_bytes;
	}
	return PARSE_TCP;
}

/* An IPv4 address in network byte order as ::ffff:a.b.c.d. */
PARSE_FUNCTION void parse_map_ipv4(__u32 out[4], __be32 addr)
{
	out[0] = 0;
	out[1] = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	out[2] = 0xffff0000;
#else
	out[2] = 0x0000ffff;
#endif
	out[3] = addr;
}

PARSE_FUNCTION enum parse_end parse_ipv4(const __u8 *at, const __u8 *end, struct parsed *out)
{
	const struct iphdr *ip = (const void *)at;
	__s32 header_bytes, total_bytes;
	__u16 fragment;

	if (at + sizeof(*ip) > end)
		return PARSE_TRUNCATED;
	header_bytes = ip->ihl * 4;
	if (ip->version != 4 || header_bytes < (__s32)sizeof(*ip))
		return PARSE_BAD_IP_HEADER;
	if (ip->protocol != IPPROTO_TCP)
		return PARSE_NOT_TCP;
	fragment = parse_be16(ip->frag_off);
	if (fragment & PARSE_IPV4_FRAGMENT_OFFSET)
		return PARSE_LATER_FRAGMENT;

	out->version = 4;
	parse_map_ipv4(out->dst, ip->daddr);
	parse_map_ipv4(out->src, ip->saddr);
	out->plain = header_bytes == sizeof(*ip);
	total_bytes = parse_be16(ip->tot_len);
	if (fragment & PARSE_IPV4_MORE_FRAGMENTS)
		out->fault = PARSE_FAULT_FRAGMENT;
	else if (total_bytes > end - at)
		out->fault = PARSE_FAULT_IP_LENGTH;
	return parse_tcp(at + header_bytes, end, total_bytes - header_bytes, out);
}

/*
 * One step along the IPv6 extension headers: reads the header of type `*next` at `*at`, and moves both on to what
 * follows. Returns PARSE_TCP to go on, anything else to end. Hop-by-hop options may only be `first` (RFC 8200 4.3).
 */
PARSE_FUNCTION enum parse_end parse_extension_header(const __u8 **at, const __u8 *end, __u8 *next, int first,
						     struct parsed *out)
{
	const struct ipv6_rt_hdr *header = (const void *)*at;
	__u32 bytes = PARSE_EXTENSION_HEADER_BYTES;

	switch (*next) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_FRAGMENT:
		break;
	case PARSE_NEXT_HEADER_SHIM6:
	case PARSE_NEXT_HEADER_EXPERIMENT_1:
	case PARSE_NEXT_HEADER_EXPERIMENT_2:
		return PARSE_UNREADABLE_CHAIN;
	default:
		return PARSE_NOT_TCP;
	}
	if (*next == IPPROTO_HOPOPTS && !first)
		return PARSE_UNREADABLE_CHAIN;
	if (*at + PARSE_EXTENSION_HEADER_BYTES > end)
		return PARSE_TRUNCATED;
	if (*next == IPPROTO_FRAGMENT) {
		const struct parse_fragment_header *fragment = (const void *)*at;

		if (parse_be16(fragment->frag_off) & PARSE_IPV6_FRAGMENT_OFFSET)
			return PARSE_LATER_FRAGMENT;
		out->fault = PARSE_FAULT_FRAGMENT;
	} else {
		if (*next == IPPROTO_ROUTING && header->segments_left != 0)
			return PARSE_IN_TRANSIT;
		bytes += header->hdrlen * 8;
	}
	*next = header->nexthdr;
	*at += bytes;
	return PARSE_TCP;
}

PARSE_FUNCTION enum parse_end parse_ipv6(const __u8 *at, const __u8 *end, struct parsed *out)
{
	const struct ipv6hdr *ip = (const void *)at;
	enum parse_end step;
	__s32 left_bytes;
	__u8 next;
	int i;

	if (at + sizeof(*ip) > end)
		return PARSE_TRUNCATED;
	if (ip->version != 6)
		return PARSE_BAD_IP_HEADER;
	out->version = 6;
	out->dst[0] = ip->daddr.s6_addr32[0];
	out->dst[1] = ip->daddr.s6_addr32[1];
	out->dst[2] = ip->daddr.s6_addr32[2];
	out->dst[3] = ip->daddr.s6_addr32[3];
	out->src[0] = ip->saddr.s6_addr32[0];
	out->src[1] = ip->saddr.s6_addr32[1];
	out->src[2] = ip->saddr.s6_addr32[2];
	out->src[3] = ip->saddr.s6_addr32[3];
	left_bytes = parse_be16(ip->payload_len);
	next = ip->nexthdr;
	out->plain = next == IPPROTO_TCP;
	at += sizeof(*ip);
	if (left_bytes > end - at)
		left_bytes = -1;

	for (i = 0; i < PARSE_EXTENSION_HEADERS_MAX && next != IPPROTO_TCP; i++) {
		const __u8 *before = at;

		step = parse_extension_header(&at, end, &next, i == 0, out);
		if (step != PARSE_TCP)
			return step;
		left_bytes -= at - before;
	}
	if (next != IPPROTO_TCP)
		return PARSE_UNREADABLE_CHAIN;
	return parse_tcp(at, end, left_bytes, out);
}

/* Parses a frame that starts with its destination MAC address. `out` has to be all zeros before. */
PARSE_FUNCTION enum parse_end parse_frame(const __u8 *data, const __u8 *end, struct parsed *out)
{
	const struct ethhdr *ethernet = (const void *)data;
	const __u8 *at = data + sizeof(*ethernet);
	__u16 ethertype;
	int i;

	if (at > end)
		return PARSE_TRUNCATED;
	ethertype = parse_be16(ethernet->h_proto);
	for (i = 0; i < PARSE_TAGS_MAX && (ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD); i++) {
		const struct parse_vlan_tag *tag = (const void *)at;

		if (at + sizeof(*tag) > end)
			return PARSE_TRUNCATED;
		ethertype = parse_be16(tag->ethertype);
		at += sizeof(*tag);
		out->tags++;
	}
	switch (ethertype) {
	case ETH_P_IP:
		return parse_ipv4(at, end, out);
	case ETH_P_IPV6:
		return parse_ipv6(at, end, out);
	case ETH_P_8021Q:
	case ETH_P_8021AD:
		return PARSE_TOO_MANY_TAGS;
	default:
		return PARSE_NOT_IP;
	}
}

#endif
