// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * What the answers of the steering program are measured with (tests/steering/cost.rs).
 *
 * BPF_PROG_RUN runs a program again and again over one frame, and a frame that was answered is another one. So each program
 * here that starts a frame on its way writes it anew first: `handfast_again` then calls the program in `next`,
 * `handfast_syns` sends it out of an interface. `handfast_nothing` in the place of `next` is what that costs by itself.
 * `handfast_bare` is the ceiling: a reflector that swaps MAC addresses, IPv4 addresses and ports, and knows nothing else.
 * `handfast_count` counts what comes back, and drops it.
 *
 * Not here: anything that runs in a server.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* Longest frame, in words of two bytes. */
#define FRAME_WORDS 48

/* What is written over each frame, as far as the frame goes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u16[FRAME_WORDS]);
} template SEC(".maps");

/* The program behind handfast_again. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

/* Frames that came back, counted on each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} returned SEC(".maps");

/* The interface to send out of; set before loading. */
const volatile __u32 out_ifindex = 0;

static __always_inline int restore(struct xdp_md *ctx)
{
	__u32 first = 0;
	const __u16 *from = bpf_map_lookup_elem(&template, &first);
	__u16 *to = (__u16 *)(long)ctx->data;
	int i;

	if (!from)
		return 0;
	for (i = 0; i < FRAME_WORDS && (void *)(to + 1) <= (void *)(long)ctx->data_end; i++)
		*to++ = from[i];
	return 1;
}

SEC("xdp")
int handfast_again(struct xdp_md *ctx)
{
	if (restore(ctx))
		bpf_tail_call(ctx, &next, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int handfast_syns(struct xdp_md *ctx)
{
	return restore(ctx) ? (int)bpf_redirect(out_ifindex, 0) : XDP_ABORTED;
}

SEC("xdp")
int handfast_nothing(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp")
int handfast_bare(struct xdp_md *ctx)
{
	__u16 *mac = (__u16 *)(long)ctx->data;
	__u32 *ip = (__u32 *)(mac + 7), *ports = ip + 5, address;
	__u16 a, b, c;

	if ((void *)(ports + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	a = mac[0];
	b = mac[1];
	c = mac[2];
	mac[0] = mac[3];
	mac[1] = mac[4];
	mac[2] = mac[5];
	mac[3] = a;
	mac[4] = b;
	mac[5] = c;
	address = ip[3];
	ip[3] = ip[4];
	ip[4] = address;
	*ports = *ports << 16 | *ports >> 16;
	return XDP_TX;
}

SEC("xdp")
int handfast_count(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&returned, &key);

	if (count)
		*count += 1;
	return XDP_DROP;
}

/* No helper used here asks for the GPL. */
char LICENSE[] SEC("license") = "MIT";
