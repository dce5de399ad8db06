"""Requests for every operation of our OpenAPI description: right, almost right and hostile."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.annotator.asgi import Wire

NUMBERS = st.sampled_from(
    [-(2**63), -1, 0, 1, 2, 3, 255, 2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**63, 2**64, 10**400]
)
WORDS = st.sampled_from(
    [
        "",
        " ",
        "1",
        "01",
        "1.0",
        "1e3",
        "-1",
        "+1",
        "true",
        "null",
        "NaN",
        "x" * 300,
        "x" * 20_000,
        "\0",
        "a\nb",
        "\u202e",
        "\u200b",
        "cafe\u0301",
        "'; drop table label;--",
        "%_",
        "__class__",
        "user.password_hash",
        "../../etc/passwd",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "${7*7}",
        "=1+1",
        "\U0001f4a9",
        "\ud800",
    ]
)
LEAVES = st.none() | st.booleans() | NUMBERS | WORDS | st.floats() | st.text(max_size=10)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
HEADERS = st.sampled_from(
    [
        ("Accept", "text/html"),
        ("Accept", "\xff\xfe"),
        ("Accept-Encoding", "gzip, br;q=nan"),
        ("Authorization", "Bearer x"),
        ("Authorization", "Bearer \xe9"),
        ("Authorization", "Basic " + "A" * 3000),
        ("Content-Encoding", "gzip"),
        ("Content-Length", "99999999999999999999"),
        ("Content-Length", "-1"),
        ("Content-Length", "x"),
        ("Cookie", "annotator_session=" + "x" * 4000),
        ("Cookie", "annotator_session=\xff; =; ;;"),
        ("Expect", "100-continue"),
        ("If-Modified-Since", "Thu, 32 Foo 9999 99:99:99"),
        ("If-None-Match", '"' + "x" * 100),
        ("If-Range", "x"),
        ("Origin", "http://127.0.0.1:7860"),
        ("Origin", "http://[::1"),
        ("Origin", "\xff"),
        ("Range", "bytes=0-1,2-3"),
        ("Range", "bytes=" + ",".join(f"{n}-{n}" for n in range(500))),
        ("Range", "bytes=-"),
        ("Range", "bytes=5-1"),
        ("Range", "bytes=99999999999999999999-"),
        ("Range", "lines=1-2"),
        ("Sec-Fetch-Site", "same-origin"),
        ("Transfer-Encoding", "chunked"),
        ("X-Forwarded-For", "1.2.3.4, \x00"),
        ("X-HTTP-Method-Override", "DELETE"),
    ]
)
TYPES = st.sampled_from(
    [
        "application/json",
        "application/json; charset=utf-16",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=x",
        "application/json\xff",
        "",
    ]
)


@dataclass(frozen=True)
class Operation:
    """One method of one address with what its description says of it."""

    method: str
    path: str
    parameters: tuple[dict[str, Any], ...]
    body: dict[str, Any] | None
    multipart: bool


def operations(description: dict[str, Any]) -> list[Operation]:
    """All operations of an OpenAPI description, with every reference followed."""
    schemas = description.get("components", {}).get("schemas", {})
    found = []
    for path, methods in sorted(description["paths"].items()):
        for method, told in sorted(methods.items()):
            content = told.get("requestBody", {}).get("content", {})
            body = next((one["schema"] for one in content.values()), None)
            found.append(
                Operation(
                    method.upper(),
                    path,
                    tuple(_plain(one, schemas) for one in told.get("parameters", ())),
                    None if body is None else _plain(body, schemas),
                    "multipart/form-data" in content,
                )
            )
    return found


def _plain(schema: Any, schemas: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_plain(one, schemas) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    return {key: _plain(value, schemas) for key, value in schema.items()}


def right(schema: dict[str, Any]) -> SearchStrategy[Any]:
    """Values that the schema describes; numbers stay small, so that ids often exist."""
    if "anyOf" in schema:
        return st.one_of([right(one) for one in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, right)
    if kind == "array":
        return st.lists(right(schema.get("items", {})), min_size=schema.get("minItems", 0), max_size=3)
    if kind == "string":
        return _text(schema)
    simple: dict[Any, SearchStrategy[Any]] = {
        "integer": st.integers(schema.get("minimum", 0), schema.get("minimum", 0) + 3),
        "number": st.floats(0, 1),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return simple.get(kind, LEAVES)


def _text(schema: dict[str, Any]) -> SearchStrategy[str]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True).map(lambda found: found[:64])
    return st.text(st.characters(codec="utf-8"), min_size=schema.get("minLength", 0), max_size=20)


def _object(schema: dict[str, Any], inner: Any) -> SearchStrategy[dict[str, Any]]:
    fields = {name: inner(one) for name, one in schema.get("properties", {}).items()}
    needed = {name: fields.pop(name) for name in schema.get("required", ()) if name in fields}
    return st.fixed_dictionaries(needed, optional=fields)


def wrong(schema: dict[str, Any]) -> SearchStrategy[Any]:
    """Values that are almost what the schema describes: one part is anything."""
    if schema.get("type") == "object":
        spoilt = _object(schema, lambda one: st.one_of(right(one), wrong(one), ANYTHING))
        extra = st.dictionaries(
            st.sampled_from(["user_id", "is_admin", "role", "__proto__"]), ANYTHING, max_size=1
        )
        return st.builds(lambda a, b: {**a, **b}, spoilt, extra)
    if schema.get("type") == "array":
        return st.lists(st.one_of(right(schema.get("items", {})), wrong(schema.get("items", {}))), max_size=3)
    return ANYTHING


def requests(operation: Operation) -> SearchStrategy[Wire]:
    """Requests of one operation."""
    return st.builds(
        Wire,
        method=st.sampled_from([operation.method] * 12 + ["HEAD", "OPTIONS", "PUT", "TRACE", "GET"]),
        target=_target(operation),
        headers=_headers(operation),
        body=_body(operation),
    )


def _target(operation: Operation) -> SearchStrategy[str]:
    in_path = {one["name"]: one["schema"] for one in operation.parameters if one["in"] == "path"}
    in_query = {one["name"]: one["schema"] for one in operation.parameters if one["in"] == "query"}
    names = re.findall(r"\{([^}:]+)[^}]*\}", operation.path)
    values = st.fixed_dictionaries({name: _word(in_path.get(name, {})) for name in names})
    query = st.fixed_dictionaries({}, optional={name: _word(one) for name, one in in_query.items()})
    odd = st.dictionaries(WORDS | st.text(max_size=5), WORDS, max_size=1)

    def build(chosen: dict[str, str], asked: dict[str, str], more: dict[str, str], tail: str) -> str:
        path = re.sub(r"\{([^}:]+)[^}]*\}", lambda found: _quoted(chosen[found[1]]), operation.path)
        pairs = [f"{_quoted(key)}={_quoted(value)}" for key, value in [*asked.items(), *more.items()]]
        return f"{path}{tail}?{'&'.join(pairs)}"

    tails = st.sampled_from([""] * 12 + ["/", "%00", "%0a", "//", "/..", "?a=%ff"])
    return st.builds(build, values, query, odd, tails)


def _word(schema: dict[str, Any]) -> SearchStrategy[str]:
    fits = right(schema).map(str) if schema else st.just("1")
    return st.one_of(fits, fits, st.sampled_from(["1", "2"]), WORDS, NUMBERS.map(str))


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def _headers(operation: Operation) -> SearchStrategy[tuple[tuple[str, str], ...]]:
    kind = "multipart/form-data; boundary=x" if operation.multipart else "application/json"
    typed = st.one_of(st.just(kind), st.just(kind), st.just(kind), TYPES)
    more = st.one_of(st.just([]), st.just([]), st.lists(HEADERS, max_size=2))
    return st.builds(lambda a, b: (("Content-Type", a), *b), typed, more)


def _body(operation: Operation) -> SearchStrategy[bytes]:
    if operation.multipart:
        return st.builds(
            _multipart, WORDS, st.sampled_from(["file", "files", ""]), st.binary(max_size=60) | TABLES
        )
    schema = operation.body
    if schema is None:
        return st.sampled_from([b""] * 4 + [b"{}", b"null", b"\xff"])
    values = st.one_of(right(schema), right(schema), wrong(schema), ANYTHING)
    written = st.builds(_json, values, st.booleans())
    return st.one_of(
        written, written, written, st.builds(_broken, written, st.integers(0, 200), st.binary(max_size=4))
    )


TABLES = st.sampled_from(
    [
        b"file_name,cat\npicture0.jpg,1\n",
        b"file_name,cat,cat\nx,1,0\n",
        b"\xff\xfef\x00",
        b'{"images": [], "annotations": [], "categories": []}',
        b'{"images": [{"id": 1e400}]}',
        b"[" * 5000,
        b"file_name," + b"c," * 2000 + b"\n",
    ]
)


def _multipart(file_name: str, field: str, content: bytes) -> bytes:
    name = file_name.encode("utf-8", "surrogatepass")
    head = b'--x\r\nContent-Disposition: form-data; name="' + field.encode() + b'"; filename="' + name + b'"'
    return head + b"\r\nContent-Type: text/csv\r\n\r\n" + content + b"\r\n--x--\r\n"


def _json(value: Any, ascii_only: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def _broken(raw: bytes, at: int, planted: bytes) -> bytes:
    """A body cut or with bytes planted in it."""
    return raw[:at] + planted + (raw[at + len(planted) :] if planted else b"")
