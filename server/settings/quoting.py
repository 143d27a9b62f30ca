"""What was given, quoted in one line that says what is wrong with it."""

from __future__ import annotations

from reprlib import Repr

_QUOTES = Repr()
_QUOTES.maxstring = 100


def quoted(text: str) -> str:
    """In quotation marks, without its middle where it is long."""
    return _QUOTES.repr(text)
