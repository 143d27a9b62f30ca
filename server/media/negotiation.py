"""SDP in and out: what an offer holds, what of it the relay speaks, and the answer (RFC 9725, RFC 9429)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from aiortc import (
    RTCDtlsParameters,
    RTCIceParameters,
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpParameters,
)
from aiortc.clock import current_ntp_time
from aiortc.codecs import CODECS, HEADER_EXTENSIONS, is_rtx
from aiortc.rtcpeerconnection import find_common_codecs, find_common_header_extensions
from aiortc.rtcrtpparameters import RTCRtcpFeedback
from aiortc.sdp import GroupDescription, MediaDescription, SessionDescription, SsrcDescription

from server.media import transport_cc
from server.media.aiortc_door import PeerTransport, Role
from server.media.candidates import reachable
from server.media.simulcast import STREAM_IDS, accept, best_streams

Kind = Literal["audio", "video"]
KINDS: tuple[Kind, ...] = ("audio", "video")

PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
REPORTED_START = 600_000  # bit/s
TRANSPORT_CC = RTCRtcpFeedback(type="transport-cc")
DISCARD_HOST, DISCARD_PORT = "0.0.0.0", 9

MAX_MID = 64
PAYLOAD_TYPES, EXTENSION_IDS = range(128), range(1, 256)  # RFC 3550, section 5.1; RFC 8285, section 4.3
ICE_UFRAG, ICE_PASSWORD = re.compile(r"[A-Za-z0-9+/]{4,256}"), re.compile(r"[A-Za-z0-9+/]{22,256}")  # RFC 8839


class InvalidOffer(ValueError):
    """The body is not an SDP offer that can be answered; the message says what would be right."""


class TooLargeOffer(ValueError):
    """The SDP has more of something than is read; the message says of what, and how much is."""


@dataclass(frozen=True)
class SdpLimits:
    """Lines, sections (m= lines) and codecs (a=rtpmap: lines) of a description. Browsers' have about 200 lines and 40
    codecs; aiortc's parser goes through all it has read for each line of some kinds."""

    lines: int = 1000
    sections: int = 8
    codecs: int = 128

    def check(self, text: str) -> None:
        """Raises TooLargeOffer. Cheap, before anything is parsed."""
        lines = text.splitlines()
        if len(lines) > self.lines:
            raise TooLargeOffer(f"The offer is too long: at most {self.lines} lines are read.")
        if sum(line.startswith("a=rtpmap:") for line in lines) > self.codecs:
            raise TooLargeOffer(f"The offer has too many a=rtpmap lines: at most {self.codecs} are read.")
        if sum(line.startswith("m=") for line in lines) > self.sections:
            raise TooLargeOffer(
                f"The offer has too many sections: one audio and one video are answered, at most {self.sections} read."
            )


@dataclass(frozen=True)
class Offer:
    """An SDP offer, checked, without candidates that only a local mDNS name stands for.

    sends, receives: which of audio and video the peer is to send, and wants to receive; withheld: whether candidates
    were left out, so that the peer may come from an address that none of those kept names.
    """

    sdp: str
    sends: frozenset[Kind]
    receives: frozenset[Kind]
    withheld: bool
    description: SessionDescription = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, limits: SdpLimits = SdpLimits()) -> Offer:
        """Raises InvalidOffer and TooLargeOffer."""
        if not text.startswith("v=0"):
            raise InvalidOffer("The body is not SDP: an offer begins with v=0.")
        limits.check(text)
        # A peer behind such a name is found by its own connectivity checks, without seconds spent on asking around.
        # Nor does a candidate with an address or port that cannot be serve anybody.
        lines = text.splitlines()
        kept = [line for line in lines if not line.startswith("a=candidate:") or reachable(line)]
        sdp = "\r\n".join(kept) + "\r\n"
        try:
            description = SessionDescription.parse(sdp)
        except Exception as error:  # aiortc's parser raises what each wrong line leads to, assertions included
            raise InvalidOffer("The body cannot be read as SDP.") from error
        media = description.media
        if not media:
            raise InvalidOffer("The offer has no media: one audio and one video section at most are answered.")
        if not all(section.dtls and section.dtls.fingerprints for section in media):
            raise InvalidOffer("The offer has a section without a=fingerprint and a=setup: media are always encrypted.")
        kinds = [section.kind for section in media]
        if any(kinds.count(kind) > 1 for kind in KINDS):
            raise InvalidOffer("The offer has several sections of one kind: one audio and one video at most.")
        mids = [section.rtp.muxId for section in media]
        if not all(mids) or len(set(mids)) < len(mids):
            raise InvalidOffer("The offer has a section without a=mid, or two with the same: each needs its own.")
        if any(len(mid) > MAX_MID for mid in mids):
            raise InvalidOffer(f"The offer has a section whose a=mid is longer than {MAX_MID} characters.")
        directions = {section.kind: section.direction for section in media}
        if any(directions.get(kind, "") is None for kind in KINDS):
            raise InvalidOffer("The offer has a section without a direction, such as a=sendonly or a=recvonly.")
        return cls(
            sdp,
            frozenset(kind for kind in KINDS if directions.get(kind) in ("sendonly", "sendrecv")),
            frozenset(kind for kind in KINDS if directions.get(kind) in ("recvonly", "sendrecv")),
            len(kept) < len(lines),
            description,
        )


@dataclass(frozen=True, eq=False)
class Section:
    """An audio or video section of an offer, and what of it both ends speak. codecs: the preferred one first."""

    kind: Kind
    mid: str
    codecs: tuple[RTCRtpCodecParameters, ...]
    extensions: tuple[RTCRtpHeaderExtensionParameters, ...]
    ssrcs: tuple[int, ...]  # as the offer names them
    ice: RTCIceParameters  # the offerer's, as the other
    dtls: RTCDtlsParameters
    stream: str | None = None  # the one that is taken, where several are offered (a=rid)

    @property
    def payload_type(self) -> int:
        """Of the preferred codec."""
        return next(iter(self.by_payload_type))

    @property
    def by_payload_type(self) -> dict[int, RTCRtpCodecParameters]:
        """The codecs."""
        return {codec.payloadType: codec for codec in self.codecs if codec.payloadType is not None}

    @property
    def dtls_role(self) -> Role:
        """The relay's: the one that is left, or the client where the offer leaves it open (RFC 8842)."""
        return "server" if self.dtls.role == "client" else "client"

    @property
    def repair_ssrcs(self) -> dict[int, int]:
        """By the SSRC of a stream of retransmissions, the SSRC of what it repairs (RFC 4588)."""
        ssrcs = self.ssrcs
        return {ssrcs[1]: ssrcs[0]} if len(ssrcs) == 2 and any(map(is_rtx, self.codecs)) else {}

    @property
    def repair_type(self) -> int | None:
        """The payload type of retransmissions of the preferred codec, where the peer speaks of them."""
        repairs = (one for one in self.codecs if is_rtx(one) and one.parameters["apt"] == self.payload_type)
        return next((one.payloadType for one in repairs), None)

    def extension(self, uri: str) -> int | None:
        """The id of a header extension."""
        return next((one.id for one in self.extensions if one.uri == uri), None)


@dataclass(frozen=True)
class SentStream:
    """What an answer tells of a stream that the relay sends. name: the same for what is played together."""

    ssrc: int
    repair_ssrc: int
    name: str


def common_sections(offer: Offer, start_bitrate: int, preferred: str = "VP8") -> list[Section]:
    """What the relay can speak of an offer: the preferred video codec first, and Opus as the only audio.

    start_bitrate: bit/s that a publisher of video is to begin with; preferred: VP8 or H264. Chromium begins at
    300 kbit/s and takes 20 s and more to reach 720p unless the answer's fmtp tells it where to begin
    (`x-google-start-bitrate`, kbit/s). Where it learns of arrivals, it begins at REPORTED_START at most: its own probes
    show it within a second whether more is possible, and a poor uplink bears that. Raises InvalidOffer.
    """
    media = [one for one in offer.description.media if one.kind in KINDS]
    bundled = {mid for group in offer.description.group if group.semantic == "BUNDLE" for mid in group.items}
    if len(media) > 1 and not bundled.issuperset(one.rtp.muxId for one in media):
        raise InvalidOffer("The offer's sections are not bundled: name all of them in a=group:BUNDLE (RFC 9725).")
    streams = best_streams(offer.sdp)
    return [_common(one, start_bitrate, preferred, streams.get(one.rtp.muxId)) for one in media]


def _common(offered: MediaDescription, start_bitrate: int, preferred: str, stream: str | None) -> Section:
    kind, ice, dtls = cast(Kind, offered.kind), offered.ice, offered.dtls
    assert dtls is not None  # Offer.parse() has seen to it
    if ice is None or not ice.usernameFragment or not ice.password:
        raise InvalidOffer("The offer has a section without a=ice-ufrag and a=ice-pwd.")
    if not ICE_UFRAG.fullmatch(ice.usernameFragment) or not ICE_PASSWORD.fullmatch(ice.password):
        raise InvalidOffer(
            "The offer's a=ice-ufrag or a=ice-pwd is not valid: 4 to 256, and 22 to 256, of A-Z, a-z, 0-9, '+' and '/'."
        )
    if not all(codec.payloadType in PAYLOAD_TYPES for codec in offered.rtp.codecs):
        raise InvalidOffer("The offer has an a=rtpmap line whose payload type is not from 0 to 127.")
    if not all(extension.id in EXTENSION_IDS for extension in offered.rtp.headerExtensions):
        raise InvalidOffer("The offer has an a=extmap line whose id is not from 1 to 255.")
    if not offered.rtcp_mux:
        raise InvalidOffer("The offer has a section without a=rtcp-mux: RTP and RTCP share a port.")
    try:
        codecs = find_common_codecs(CODECS[kind], offered.rtp.codecs)
    except (TypeError, ValueError) as error:  # an a=fmtp line whose values are none
        raise InvalidOffer("The offer has an a=fmtp line that cannot be read.") from error
    if kind == "video":
        first = {codec.payloadType for codec in codecs if codec.name.upper() == preferred}
        start = min(start_bitrate, REPORTED_START) if _reports_arrivals(offered) else start_bitrate
        codecs.sort(key=lambda codec: codec.parameters.get("apt", codec.payloadType) not in first)
        for codec in codecs:
            if not is_rtx(codec):
                codec.parameters["x-google-start-bitrate"] = start // 1000
    else:
        codecs = [codec for codec in codecs if codec.mimeType.lower() == "audio/opus"]
        for codec in codecs:
            codec.parameters.update({"minptime": 10, "useinbandfec": 1})
    if not codecs:
        speaks = "VP8/90000 or H264/90000" if kind == "video" else "opus/48000/2"
        raise InvalidOffer(f"The offer's {kind} has no codec that the relay speaks: offer {speaks}.")
    spoken = HEADER_EXTENSIONS[kind]
    if kind == "video" and _reports_arrivals(offered):
        spoken = [*spoken, RTCRtpHeaderExtensionParameters(id=0, uri=transport_cc.URI)]
        if offered.direction in ("recvonly", "sendrecv"):
            spoken = [*spoken, RTCRtpHeaderExtensionParameters(id=0, uri=PLAYOUT_DELAY)]
        _answer_transport_cc(codecs, offered)
    if stream is not None:
        spoken = [*spoken, *(RTCRtpHeaderExtensionParameters(id=0, uri=uri) for uri in STREAM_IDS)]
    extensions = find_common_header_extensions(spoken, offered.rtp.headerExtensions)
    ssrcs = tuple(one.ssrc for one in offered.ssrc)
    return Section(kind, offered.rtp.muxId, tuple(codecs), tuple(extensions), ssrcs, ice, dtls, stream)


def _reports_arrivals(offered: MediaDescription) -> bool:
    """Whether the offer speaks of transport-wide feedback, and of the numbers that it is about."""
    numbered = any(one.uri == transport_cc.URI for one in offered.rtp.headerExtensions)
    return numbered and any(TRANSPORT_CC in codec.rtcpFeedback for codec in offered.rtp.codecs)


def _answer_transport_cc(codecs: Sequence[RTCRtpCodecParameters], offered: MediaDescription) -> None:
    """aiortc itself does not speak of transport-wide feedback."""
    speaking = {codec.payloadType for codec in offered.rtp.codecs if TRANSPORT_CC in codec.rtcpFeedback}
    for codec in codecs:
        if codec.payloadType in speaking:
            codec.rtcpFeedback.append(TRANSPORT_CC)


def write_answer(
    offer: Offer,
    sections: Sequence[Section],
    receives: set[Kind],
    sent: Mapping[Kind, SentStream],
    transport: PeerTransport,
) -> str:
    """receives: what the relay takes of what is offered; sent: what it sends."""
    now = current_ntp_time() >> 32
    answer = SessionDescription()
    answer.origin = f"- {now} {now} IN IP4 0.0.0.0"
    answer.msid_semantic.append(GroupDescription("WMS", ["*"]))
    answer.group.append(GroupDescription("BUNDLE", [section.mid for section in sections]))
    by_mid = {section.mid: section for section in sections}
    for offered in offer.description.media:
        section = by_mid.get(offered.rtp.muxId)
        if section is None:
            answer.media.append(_refused(offered))
        else:
            answer.media.append(_answered(section, section.kind in receives, sent.get(section.kind), transport))
    taken = {one.mid: one.stream for one in sections if one.stream is not None and one.kind in receives}
    return accept(str(answer), taken)


def _answered(section: Section, receives: bool, sent: SentStream | None, transport: PeerTransport) -> MediaDescription:
    media = MediaDescription(section.kind, DISCARD_PORT, "UDP/TLS/RTP/SAVPF", list(section.by_payload_type))
    media.host, media.rtcp_host, media.rtcp_port, media.rtcp_mux = DISCARD_HOST, DISCARD_HOST, DISCARD_PORT, True
    directions = {(False, False): "inactive", (True, False): "recvonly", (False, True): "sendonly"}
    media.direction = directions.get((receives, sent is not None), "sendrecv")
    media.rtp = RTCRtpParameters(
        codecs=list(section.codecs), headerExtensions=list(section.extensions), muxId=section.mid
    )
    if sent is not None:
        media.msid = f"{sent.name} {sent.name}-{section.kind}"
        media.ssrc = [SsrcDescription(sent.ssrc, sent.name)]
        if section.repair_type is not None:
            media.ssrc.append(SsrcDescription(sent.repair_ssrc, sent.name))
            media.ssrc_group = [GroupDescription("FID", [sent.ssrc, sent.repair_ssrc])]
    media.ice, media.ice_candidates, media.ice_candidates_complete = (
        transport.ice_parameters,
        transport.candidates,
        True,
    )
    if media.ice_candidates:
        media.host, media.port = media.ice_candidates[0].ip, media.ice_candidates[0].port
    media.dtls = transport.dtls_parameters(section.dtls_role)
    return media


def _refused(offered: MediaDescription) -> MediaDescription:
    """A section of another kind, such as data channels."""
    media = MediaDescription(offered.kind, 0, offered.profile, offered.fmt)
    media.rtp.muxId, media.ice = offered.rtp.muxId, RTCIceParameters()
    return media
