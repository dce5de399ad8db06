"""Secrets that open something: made here, kept as their SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets


def new_secret() -> str:
    """256 random bits as text that fits an address and a header."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What the database keeps of a secret; any text has one, also text that was never a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
