"""Ports of the loopback for servers of tests."""

import contextlib
import pathlib
import random
import socket


def free_ports(count=1):
    """The first of so many that follow one another and are free. They lie below those that the kernel draws for whoever connects
    or binds to no certain one: such a port can be taken again before its server has it."""
    drawn = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(10_000, min(drawn, 32_000) - count), 1000):
        with contextlib.ExitStack() as bound, contextlib.suppress(OSError):
            for number in range(count):
                bound.enter_context(socket.socket()).bind(("127.0.0.1", port + number))
            return port
    raise AssertionError("no free ports")
