"""Publishers and watchers of aiortc without its encoders and decoders.

aiortc has no call for either, so this module uses what it keeps private; tests/media/test_aiortc_contract.py says what.
"""

from __future__ import annotations

from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpTransceiver

from server.client.load.replay import Replay
from server.client.load.sink import Sink
from server.media.send.encoder import Codec

SEND_KEYFRAME = "_send_keyframe"  # of a sender: called when a keyframe is asked for
JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"  # of a receiver: its add() is called with each packet of media


def add_publisher(pc: RTCPeerConnection, replay: Replay, codec: Codec) -> None:
    """Offers the replayed picture; who asks for a keyframe is heard."""
    transceiver = pc.addTransceiver(replay, "sendonly")
    offer_only(transceiver, codec)
    setattr(transceiver.sender, SEND_KEYFRAME, replay.ask_keyframe)


def add_watcher(pc: RTCPeerConnection, sink: Sink, codec: Codec) -> None:
    """Offers to receive a picture, whose packets go to the sink in the place of a jitter buffer and a decoder."""
    transceiver = pc.addTransceiver("video", "recvonly")
    offer_only(transceiver, codec)
    setattr(transceiver.receiver, JITTER_BUFFER, sink)


def offer_only(transceiver: RTCRtpTransceiver, codec: Codec) -> None:
    """One codec, and its retransmissions."""
    known = RTCRtpReceiver.getCapabilities("video")
    assert known is not None  # it is for audio and video
    transceiver.setCodecPreferences([one for one in known.codecs if one.name in (codec, "rtx")])
