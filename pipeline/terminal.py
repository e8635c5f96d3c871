"""Text from the web on a terminal: nothing in it may act."""

from __future__ import annotations

import unicodedata


def safe(text: str, limit: int | None = None, keep: str = "") -> str:
    """Return text with control, format and bidirectional characters made visible as escapes, cut to `limit`.

    The one character in `keep` stays as it is: a page may show line breaks, a terminal line may not.
    """
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return "".join(
        _escape(c) if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c != keep else c for c in text
    )


def _escape(character: str) -> str:
    point = ord(character)
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
