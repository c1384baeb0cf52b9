"""Masks: what is shown of a personal value in metadata, samples and messages."""

import secrets
from hashlib import blake2b
from typing import Literal, get_args

Mask = Literal["redact", "hash"]
MASKS: tuple[str, ...] = get_args(Mask)

# Drawn anew in each process: digests compare within one message, and lead back to nobody.
_KEY = secrets.token_bytes(16)


def mask_value(value: object, mask: str = "hash") -> str | None:
    """Return what may be shown of `value`: a short digest, or nothing but that it is there."""
    if value is None:
        return None
    if mask == "redact":
        return "***"
    return "#" + blake2b(repr(value).encode(), key=_KEY, digest_size=4).hexdigest()
