"""Other sites whose pages may use the API."""

from __future__ import annotations


class Allowed(tuple[str, ...]):
    """Origins, of which `https://*.example.org` stands for those of all names below example.org, as in a content
    security policy; `*` stands for nothing here but itself."""

    __slots__ = ()

    def __contains__(self, origin: object) -> bool:
        return isinstance(origin, str) and any(_covers(each, origin) for each in self)


def _covers(allowed: str, origin: str) -> bool:
    scheme, below, rest = allowed.partition("://*.")
    return origin == allowed or (bool(below) and origin.startswith(f"{scheme}://") and origin.endswith(f".{rest}"))
