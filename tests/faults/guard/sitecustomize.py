"""Loaded by every Python process whose path holds this folder: refuses connections to other machines.

What was asked for is appended to the file that the variable CONNECTION_LOG names; nothing is sent.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

LOCAL_NAMES = frozenset({"localhost", "", socket.gethostname()})


def is_local(host: object) -> bool:
    """Whether an address or a name means this machine."""
    if host is None:
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return text in LOCAL_NAMES


def refuse(deed: str, where: object) -> None:
    """Note the attempt and raise what a machine without a network raises."""
    with open(os.environ["CONNECTION_LOG"], "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"{deed} {where} by {sys.argv}\n")
    raise OSError(101, f"{deed} {where} was refused by the test")


def guarded(name: str) -> Callable[..., Any]:
    """A socket's method that looks at the address first; it is the last argument of all of them."""
    original = getattr(socket.socket, name)

    def method(self: socket.socket, *arguments: Any) -> Any:
        address = arguments[-1]
        inet = self.family in (socket.AF_INET, socket.AF_INET6)
        if inet and isinstance(address, tuple) and not is_local(address[0]):
            refuse(name, address)
        return original(self, *arguments)

    return method


def looked_up(name: str) -> Callable[..., Any]:
    """A look-up of a name that takes names of this machine only."""
    original = getattr(socket, name)

    def function(host: Any, *arguments: Any, **named: Any) -> Any:
        if not is_local(host) and not _is_address(host):
            refuse(name, host)
        return original(host, *arguments, **named)

    return function


def _is_address(host: Any) -> bool:
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return True


if "CONNECTION_LOG" in os.environ:
    for method_name in ("connect", "connect_ex", "sendto"):
        setattr(socket.socket, method_name, guarded(method_name))
    for function_name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        setattr(socket, function_name, looked_up(function_name))
