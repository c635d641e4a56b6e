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

/* 1 if a frame is steered if its endpoint is, with where it is for: 16 bytes of address, and the port. */
int handfast_fuzz_steers(const __u8 *frame, size_t bytes, __u8 *address, __u16 *port)
{
	struct parsed packet = {};

	if (parse_frame(frame, frame + bytes, &packet) != PARSE_TCP || packet.fault != PARSE_FAULT_NONE)
		return 0;
	/* The port map never has bits for port 0. */
	if (packet.dst_port == 0)
		return 0;
	memcpy(address, packet.dst, sizeof(packet.dst));
	*port = packet.dst_port;
	return 1;
}
