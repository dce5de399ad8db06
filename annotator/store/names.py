"""One form for every name people give: what is stored, what is refused, and which two names are twins."""

from __future__ import annotations

import re
import unicodedata

from annotator.errors import BadInput

MAX_NAME = 200
# Invisible, yet part of how Persian, Hindi and emoji are written; they make no name another one.
_JOINERS = "\u200c\u200d"
_SELECTORS = "".join(map(chr, range(0xFE00, 0xFE10)))
_UNSEEN = re.compile(f"[{_JOINERS}{_SELECTORS}]")
# Signs without ink that Unicode does not call controls: fillers, a joiner of nothing, the empty Braille cell.
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_REFUSED = frozenset(
    {"Cc", "Cf", "Cs", "Zl", "Zp"}
)  # controls, zero-width and direction signs, half characters


def tidy_name(name: str, noun: str) -> str:
    """`name` in NFC without outer blanks; BadInput when it is empty, too long or not plain visible text.

    Half a character, a control sign, a zero-width sign or one that turns the direction of writing is refused:
    two names that look alike must not be two names.
    """
    tidy = unicodedata.normalize("NFC", name).strip()
    if not tidy:
        raise BadInput(f"The name of a {noun} must not be empty.")
    if len(tidy) > MAX_NAME:
        raise BadInput(f"The name of a {noun} has at most {MAX_NAME} characters, this one has {len(tidy)}.")
    odd = next((sign for sign in tidy if _is_odd(sign)), None)
    if odd is not None:
        raise BadInput(f"The name of a {noun} must not contain the invisible character U+{ord(odd):04X}.")
    if not _UNSEEN.sub("", tidy):
        raise BadInput(f"The name of a {noun} must not be empty.")
    return tidy


def twin_key(name: str) -> str:
    """What makes two names the same: letter case, the kind and number of blanks and joiners do not."""
    seen = _UNSEEN.sub("", unicodedata.normalize("NFC", name))
    return unicodedata.normalize("NFC", " ".join(seen.casefold().split()))


def _is_odd(sign: str) -> bool:
    return (unicodedata.category(sign) in _REFUSED and sign not in _JOINERS) or sign in _FILLERS
