// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The two ends of a packet ceiling, in the least that an XDP program can do: one that counts and drops what arrives, and
 * one that sends the frames of BPF_PROG_RUN out of an interface. `handfast lab packets` loads one or the other
 * (src/bench/packets.rs).
 *
 * What is not here: a look into any frame.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Frames dropped, counted on each CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} dropped SEC(".maps");

/* The interface to send out of; set before loading. */
const volatile __u32 out_ifindex = 0;

SEC("xdp")
int handfast_drop(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&dropped, &key);

	if (count)
		*count += 1;
	return XDP_DROP;
}

SEC("xdp")
int handfast_send(struct xdp_md *ctx)
{
	return (int)bpf_redirect(out_ifindex, 0);
}

/* No helper used here asks for the GPL. */
char LICENSE[] SEC("license") = "MIT";
