"""What the server and a decoding process say to each other: a line of JSON, then blocks of bytes.

Both sides check what they read: a decoder that a picture has taken over must not be able to name a path, fill
the memory or run anything here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

_LENGTH = struct.Struct(">I")
MAX_HEAD = 16 * 1024


class Broken(Exception):
    """The other side ended in the middle, or says what nobody should."""


def send(stream: BinaryIO, head: dict[str, Any], blocks: Sequence[bytes] = ()) -> None:
    """Write one message; OSError when the other side is gone."""
    text = json.dumps({**head, "blocks": [len(block) for block in blocks]}).encode()
    _write(stream, _LENGTH.pack(len(text)) + text)
    for block in blocks:
        _write(stream, block)


def receive(stream: BinaryIO, largest: int) -> tuple[dict[str, Any], list[bytes]]:
    """Read one message whose blocks have at most `largest` bytes in all.

    EOFError when the other side ended before it, Broken when it is no message.
    """
    head = receive_head(stream)
    return head, receive_blocks(stream, head, largest)


def receive_head(stream: BinaryIO) -> dict[str, Any]:
    """The first part of a message; errors as `receive`."""
    first = stream.read(1)
    if not first:
        raise EOFError
    (length,) = _LENGTH.unpack(first + _read(stream, _LENGTH.size - 1))
    if length > MAX_HEAD:
        raise Broken(f"a head of {length} bytes")
    try:
        head = json.loads(_read(stream, length))
    except ValueError as error:
        raise Broken("a head that is not JSON") from error
    if not isinstance(head, dict):
        raise Broken("a head that is no object")
    return head


def receive_blocks(stream: BinaryIO, head: dict[str, Any], largest: int) -> list[bytes]:
    """The blocks that `head` announces; errors as `receive`."""
    sizes = head.get("blocks")
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise Broken("sizes that are none")
    if sum(sizes) > largest:
        raise Broken(f"{sum(sizes)} bytes")
    return [_read(stream, size) for size in sizes]


def _write(stream: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def _read(stream: BinaryIO, size: int) -> bytes:
    """Exactly `size` bytes; Broken when the stream ends before."""
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        got = stream.readinto(rest)  # type: ignore[attr-defined]
        if not got:
            raise Broken("an end in the middle")
        rest = rest[got:]
    return bytes(data)
