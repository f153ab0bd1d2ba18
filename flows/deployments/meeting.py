"""Where the machines of one learning job meet: the one that leads says its address on the server, and the others go there."""

import os
import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from prefect.artifacts import Artifact
from prefect.settings import PREFECT_API_URL

from data_contracts.errors import StageError
from flows.deployments.elsewhere import MEETING
from flows.ports import free_port
from flows.variables import ADDRESS
from tasks.learning.machines import Group


def group_of(told: dict[str, Any] | None) -> Group | None:
    """The machines as this one sees them; the one that leads tells the night where it awaits the others.

    Raises:
        StageError: this machine does not know its own address, or the one that leads does not.
    """
    if told is None:
        return None
    server = urlsplit(PREFECT_API_URL.value())
    own = own_address(server.hostname or "localhost", server.port or 443)
    if "host" not in told:
        told = {**told, "host": own, "port": free_port()}
        data = {name: told[name] for name in ("host", "port")}
        Artifact(type=MEETING, description="where the other machines meet this one", data=data).create()
    group = Group.model_validate(told)
    if _means_each_itself(group.host) and not _means_each_itself(own):
        remedy = f"set {ADDRESS} on that machine's worker, or let it reach the server by an address that others know, too"
        raise StageError(f"the machine that leads is to be met at {group.host}, by which each machine means itself", remedy=remedy)
    return group


def own_address(reaching: str, port: int) -> str:
    """The address by which others reach this machine: the environment's, or its IPv4 address on the way to another machine.

    Args:
        reaching: name or address of the other machine; no packet is sent.
        port: any port of it.

    Raises:
        StageError: there is no such way.
    """
    if given := os.environ.get(ADDRESS):
        return given
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        try:
            way.connect((reaching, port))
        except OSError as error:
            remedy = f"set {ADDRESS} on this machine's worker"
            raise StageError(f"no IPv4 way leads from this machine to {reaching}: {error.strerror}", remedy=remedy) from error
        return str(way.getsockname()[0])


def _means_each_itself(host: str) -> bool:
    with suppress(ValueError):  # a name
        return ip_address(host).is_loopback
    return False
