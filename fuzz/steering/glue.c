/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * bpf/parse.h, compiled for the host: the same lines that the steering program is made of.
 *
 * What is added: the question that decide() in bpf/steer.bpf.c asks of a parse, for endpoints of any address and any port.
 * Not here: endpoints, the MAC filter and counters; they have no say in what a frame is.
 */
#include <stddef.h>
#include <string.h>

#include "../../bpf/parse.h"

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
