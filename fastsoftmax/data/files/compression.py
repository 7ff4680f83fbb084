"""How a file is compressed, told by its first bytes and not by its name."""

from __future__ import annotations

import re

# Bytes of the beginning that are enough to tell.
HEAD = 16
_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "bzip2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "zip": re.compile(rb"PK\x03\x04"),
}


def compression(head: bytes) -> str | None:
    """The name of the compression of a file that begins like this; None for one that is not compressed."""
    return next((kind for kind, magic in _MAGIC.items() if magic.match(head)), None)
