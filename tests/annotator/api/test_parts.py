"""The shape of uploads: what no browser sends is refused before a parser sees it; the rest stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotator.api import parts
from annotator.api.body import Body
from annotator.api.parts import HEAD_LIMIT, MOST_PARTS, TEXT_LIMIT, TOGETHER, Parts
from annotator.api.rules import BodyRule, Unwanted
from tests import running
from tests.annotator.api.test_body import Client

KIND = 'multipart/form-data; boundary="x-1"'
END = b"--x-1--\r\n"
# What the parsers behind take for a text, and therefore keep in memory.
NO_FILES = {
    "by its name": b'Content-Disposition: form-data; name="filename"',
    "by another header": b'Content-Disposition: form-data; name="f"\r\nX: a; filename="a"',
    "by the form that is not read": b"Content-Disposition: form-data; name=\"f\"; filename*=utf-8''a",
    "by the first of two": b'Content-Disposition: form-data; name="f"; filename="a"\r\n'
    b'content-disposition: form-data; name="f"',
}


def part(content: bytes, *, file: bool = True, more: bytes = b"") -> bytes:
    named = b'; filename="a.jpg"' if file else b""
    return (
        b'--x-1\r\nContent-Disposition: form-data; name="f"'
        + named
        + b"\r\n"
        + more
        + b"\r\n"
        + content
        + b"\r\n"
    )


def followed(body: bytes, size: int) -> list[bytes]:
    """Feed a body in pieces of `size` bytes; what is handed on."""
    found = Parts(KIND)
    handed = [one for at in range(0, len(body), size) for one in found.feed(body[at : at + size])]
    found.finish()
    return handed


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10**9])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(part(b"picture") + END, id="a file"),
        pytest.param(b"\r\n" + part(b"picture") + END, id="a line end first"),
        pytest.param(part(b"") + part(b"y", file=False) + END, id="an empty file and a text"),
        pytest.param(b"--x-1\r\n\r\nno headers\r\n" + END, id="no headers"),
        pytest.param(part(b"a\r\n--x-1b\r\n--x-\r\n\r\n--x-1z--") + END, id="bytes like the boundary"),
        pytest.param(part(b"a\r\n\r\n\r\n") + END + b"\r\n", id="line ends at the end"),
        pytest.param(part(b"y") * MOST_PARTS + END, id="as many parts as may be"),
        pytest.param(part(b"y" * 10 * TEXT_LIMIT) + END, id="a file longer than a text may be"),
        pytest.param(END, id="no part"),
    ],
)
def test_what_browsers_and_programs_send_passes_unchanged(body: bytes, size: int) -> None:
    if size < 64 and len(body) > 10_000:
        body = body[: 40 * len(part(b"y"))] + b"\r\n" + END
    assert b"".join(followed(body, size)) == body


@pytest.mark.parametrize("size", [1, 50, 65536])
@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(b"\r\n" * 5000 + part(b"y") + END, "does not begin", id="preamble of line ends"),
        pytest.param(b"hello" + part(b"y") + END, "does not begin", id="preamble"),
        pytest.param(part(b"y", more=b"X-Big: " + b"z" * HEAD_LIMIT) + END, "headers of part 1", id="header"),
        pytest.param(part(b"y", more=b"X: z\r\n" * 2000) + END, "headers of part 1", id="many headers"),
        pytest.param(part(b"y" * (TEXT_LIMIT + 1), file=False) + END, "text in part 1", id="a long text"),
        pytest.param(part(b"y") + part(b"y" * 10), "ends before", id="cut off"),
        pytest.param(part(b"y") + END + b"z" * 2000, "goes on after", id="epilogue"),
    ],
)
def test_what_only_costs_work_is_refused(body: bytes, told: str, size: int) -> None:
    with pytest.raises(Unwanted, match=told) as refused:
        followed(body, size)
    assert refused.value.status == 400


@pytest.mark.parametrize("head", NO_FILES.values(), ids=list(NO_FILES))
def test_a_long_text_that_only_looks_like_a_file_is_refused(head: bytes) -> None:
    body = b"--x-1\r\n" + head + b"\r\n\r\n" + b"y" * (TEXT_LIMIT + 1) + b"\r\n" + END
    with pytest.raises(Unwanted, match="text in part 1"):
        followed(body, 4096)


@pytest.mark.parametrize("file", [True, False])
def test_too_many_parts_are_refused_at_the_first_one_too_many(file: bool) -> None:
    found = Parts(KIND)
    assert found.feed(part(b"y", file=file) * MOST_PARTS)
    with pytest.raises(Unwanted, match=f"more than {MOST_PARTS} parts"):
        found.feed(part(b"y", file=file))


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", f"a; boundary={'x' * 201}"]
)
def test_a_boundary_that_is_none_is_refused(kind: str) -> None:
    with pytest.raises(Unwanted, match="boundary"):
        Parts(kind)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([b"\r\n", b"--x-1", b"--", b"-", b"x", b"\r", b"\n", b"1"]), max_size=12)
    ),
    st.integers(1, 40),
)
def test_a_file_of_whatever_bytes_passes_unless_it_holds_the_boundary(
    contents: list[list[bytes]], size: int
) -> None:
    files = [b"".join(one) for one in contents]
    body = b"".join(part(one) for one in files) + END
    if any(b"\r\n--x-1\r\n" in b"\r\n" + one + b"\r\n" or b"\r\n--x-1--" in b"\r\n" + one for one in files):
        return
    assert b"".join(followed(body, size)) == body


def test_few_parts_are_handed_on_at_once() -> None:
    handed = followed(part(b"y") * 100 + END, 10**9)
    begun = [piece.count(b"--x-1\r\n") for piece in handed]
    assert sum(begun) == 100 and max(begun) <= TOGETHER + 1 and len(handed) >= 100 // TOGETHER


def test_others_have_their_turn_between_the_pieces_of_an_upload() -> None:
    turns: list[str] = []

    async def upload() -> int:
        import asyncio

        client = Client([part(b"y") * 64 + END])
        rule = BodyRule("multipart/form-data", 10**6)
        body = Body(client.receive, rule, lambda _: None, headers=[(b"content-type", KIND.encode())])

        async def other() -> None:
            while True:
                turns.append("other")
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        more = True
        while more:
            more = (await body())["more_body"]
            turns.append("piece")
        beside.cancel()
        return turns.count("piece")

    pieces = running.run(upload())
    assert pieces >= 64 // TOGETHER
    first, last = turns.index("piece"), len(turns) - 1 - turns[::-1].index("piece")
    assert turns[first:last].count("other") >= pieces - 1


@pytest.mark.parametrize("name", ["10 MB", "cut"])
def test_the_way_in_refuses_before_the_application_has_a_byte(name: str) -> None:
    bodies = {"10 MB": [b"\r\n" * 32768] * 160, "cut": [part(b"y")]}
    told: list[Unwanted] = []
    client = Client(bodies[name])
    rule = BodyRule("multipart/form-data", 10**9)

    async def read() -> None:
        await Body(client.receive, rule, told.append, headers=[(b"content-type", KIND.encode())])()

    with pytest.raises(Unwanted):
        running.run(read())
    assert [(one.status, one.code) for one in told] == [(400, "not_multipart")] and client.asked == 1
    assert parts.MOST_PARTS <= 1000, "the page sends a thousand files at a time, its parser takes no more"
