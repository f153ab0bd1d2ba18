"""Ports of this machine."""

import socket


def free_port(host: str = "") -> int:
    """A port that nobody uses just now, at an address of this machine or at all of them."""
    with socket.socket() as free:
        free.bind((host, 0))
        return int(free.getsockname()[1])
