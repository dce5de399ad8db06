"""When files that are gone are not believed to be gone: a disk that is not mounted looks just like that."""

from __future__ import annotations

MOST = 100  # newly missing pictures, or
MOST_SHARE = 0.01  # that share of all, beyond which nothing is marked before a person has said so


def too_many(missing: int, total: int) -> bool:
    """Whether more pictures of `total` went missing than a program believes by itself."""
    return missing > min(MOST, MOST_SHARE * total)


def sentence(missing: int, total: int, where: str) -> str:
    """What is said then, without the advice; `where` they are missing from."""
    return (
        f"{missing} of {total} pictures are missing from {where}, which looks like a disk that is not "
        "mounted, so nothing was marked"
    )
