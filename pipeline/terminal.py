"""Text from the web on a terminal: nothing in it may act."""

from __future__ import annotations

import unicodedata


def safe(text: str, limit: int | None = None) -> str:
    """Return text with control, format and bidirectional characters made visible as escapes, cut to `limit`."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return "".join(_escape(c) if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else c for c in text)


def _escape(character: str) -> str:
    point = ord(character)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
