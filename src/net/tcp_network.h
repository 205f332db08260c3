// TCP, on the event loop.
//
// Addresses are numeric, "tcp:10.0.0.7:9000" and "tcp:[fe80::1]:9000"; who has names resolves them,
// which may block. A listener on port 0 gets a free one, see Listener::address(); one on [::] takes
// IPv4 as well.
//
// Sockets do not wait, are written to with all that is queued at once and without Nagle's delay,
// and are watched for edges: a read that brings less than was asked for is the last until the next
// event. TCP's own keep-alive is off, since connections have theirs (net/transport.h).
//
// Threads: the loop's.
#pragma once

#include <memory>

#include "io/event_loop.h"
#include "net/stream.h"

namespace hadal::net {

/// For make_transport(). The loop must live longer than the transport.
std::unique_ptr<StreamNetwork> tcp_network(io::EventLoop& loop);

}  // namespace hadal::net
