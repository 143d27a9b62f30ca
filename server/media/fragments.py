"""SDP fragments: candidates that follow an offer, and ICE restarts (RFC 8840; RFC 9725, section 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aiortc import RTCIceCandidate, RTCIceParameters
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp

from server.media.candidates import named, reachable
from server.media.negotiation import ICE_PASSWORD, ICE_UFRAG


class InvalidFragment(ValueError):
    """The body is not an SDP fragment of trickled candidates."""


@dataclass(frozen=True)
class Fragment:
    """Trickled candidates, or the beginning of an ICE restart. ufrag: whose ICE session's; candidates of names, which
    are not resolved, are left out (RFC 9725, section 4.3.2), and `withheld` then; password: of that session, with which
    a restart begins."""

    ufrag: str | None
    candidates: tuple[RTCIceCandidate, ...]
    complete: bool
    withheld: bool = False
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Fragment:
        """Raises InvalidFragment."""
        lines = [line.strip() for line in text.splitlines()]
        values = {
            name: [line.removeprefix(f"a={name}").lstrip(":") for line in lines if line.startswith(f"a={name}")]
            for name in ("ice-ufrag", "ice-pwd", "candidate", "end-of-candidates")
        }
        if not any(values.values()):
            raise InvalidFragment(
                "The body is not an SDP fragment: it holds no a=candidate, no a=end-of-candidates, no a=ice-ufrag."
            )
        try:
            known = [value for value in values["candidate"] if not named(value)]
            if not all(map(reachable, known)):
                raise ValueError("an address or a port that cannot be")
            candidates = tuple(map(candidate_from_sdp, known))
        except (AssertionError, ValueError) as error:
            raise InvalidFragment("An a=candidate line of the body cannot be read.") from error
        ufrag, password = (next(iter(values[name]), None) for name in ("ice-ufrag", "ice-pwd"))
        withheld = len(known) < len(values["candidate"])
        return cls(ufrag, candidates, bool(values["end-of-candidates"]), withheld, password)


def restarted(fragment: Fragment) -> RTCIceParameters:
    """The peer's parameters of the ICE session that it begins. Raises InvalidFragment."""
    ufrag, password = fragment.ufrag or "", fragment.password or ""
    if not ICE_UFRAG.fullmatch(ufrag):
        raise InvalidFragment("An ICE restart needs an a=ice-ufrag of 4 to 256 letters, digits, '+' and '/'.")
    if not ICE_PASSWORD.fullmatch(password):
        raise InvalidFragment("An ICE restart needs an a=ice-pwd of 22 to 256 letters, digits, '+' and '/'.")
    return RTCIceParameters(usernameFragment=ufrag, password=password)


def write_fragment(
    sections: Sequence[tuple[str, str]], ice: RTCIceParameters, candidates: Iterable[RTCIceCandidate]
) -> str:
    """The answer to an ICE restart. sections: kinds and mids of the media, which are bundled on the first."""
    kind, mid = sections[0]
    return "\r\n".join(
        (
            f"a=group:BUNDLE {' '.join(mid for _, mid in sections)}",
            f"m={kind} 9 UDP/TLS/RTP/SAVPF 0",
            f"a=mid:{mid}",
            f"a=ice-ufrag:{ice.usernameFragment}",
            f"a=ice-pwd:{ice.password}",
            *(f"a=candidate:{candidate_to_sdp(one)}" for one in candidates),
            "a=end-of-candidates",
            "",
        )
    )
