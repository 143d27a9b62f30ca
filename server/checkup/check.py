"""One line of `hime doctor`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """required: whether the relay lacks something when this fails; advice: what to change."""

    name: str
    ok: bool
    detail: str
    required: bool = True
    advice: str = ""

    @property
    def mark(self) -> str:
        return "OK" if self.ok else "FAIL" if self.required else "WARN"


class Fault(Exception):
    """What a probe found wrong, and what to change. required: as Check's; None: as the probe itself is."""

    def __init__(self, detail: str, advice: str = "", required: bool | None = None) -> None:
        super().__init__(detail)
        self.advice, self.required = advice, required


def attempt(name: str, probe: Callable[[], str], required: bool = True) -> Check:
    """The probe's outcome: what it returns where all is well, or what it raises. A doctor reports whatever is wrong."""
    try:
        return Check(name, True, probe(), required)
    except Exception as error:
        return _failed(name, error, required)


async def attempted(name: str, probe: Awaitable[str], required: bool = True) -> Check:
    """As attempt, of a probe that waits for the network."""
    try:
        return Check(name, True, await probe, required)
    except Exception as error:
        return _failed(name, error, required)


def _failed(name: str, error: Exception, required: bool) -> Check:
    detail = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, Fault):
        return Check(name, False, detail, required)
    return Check(name, False, detail, required if error.required is None else error.required, error.advice)
