"""A peer on GStreamer's webrtcbin with WHIP and WHEP signalling. For the system's Python, which has GStreamer's
bindings; it needs nothing else.

    /usr/bin/python3 gst_peer.py publish|watch URL VP8|H264 WIDTH HEIGHT FPS

Publishes pictures that carry their number, and a tone; or prints, as lines, the number of each picture that comes, and
`sound` for each buffer of sound. Ends with its standard input.
"""

from __future__ import annotations

import sys
import threading
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

BITS = 12  # as server.proof.numbers has it
ENCODERS = {
    "VP8": "vp8enc deadline=1 keyframe-max-dist=20 ! rtpvp8pay picture-id-mode=15-bit",
    "H264": (
        "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=20 ! video/x-h264,profile=constrained-baseline ! "
        "h264parse ! rtph264pay config-interval=-1 aggregate-mode=zero-latency"
    ),
}
DECODERS = {"VP8": "rtpvp8depay ! vp8dec", "H264": "rtph264depay ! h264parse ! openh264dec"}
PARAMETERS = {"VP8": "", "H264": ",packetization-mode=(string)1,profile-level-id=(string)42e01f"}
VIDEO_TYPE, AUDIO_TYPE = 96, 97


class GstPeer:
    """what: publish or watch."""

    def __init__(self, what: str, url: str, codec: str, width: int, height: int, fps: int) -> None:
        self.url, self.codec, self.location = url, codec, ""
        self.size, self.fps, self.number = (width, height), fps, 0
        self.loop = GLib.MainLoop()
        self.error = ""
        pipeline = "webrtcbin name=peer bundle-policy=max-bundle"
        if what == "publish":
            pipeline += (
                f" appsrc name=pictures is-live=true do-timestamp=true format=time "
                f"caps=video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 ! queue ! "
                f"{ENCODERS[codec]} ! {self.caps('video')} ! peer. "
                f"audiotestsrc is-live=true ! audioconvert ! opusenc ! rtpopuspay ! {self.caps('audio')} ! peer."
            )
        self.pipeline = Gst.Pipeline()
        self.pipeline.add(Gst.parse_bin_from_description(pipeline, False))
        self.peer = self.pipeline.get_by_name("peer")
        if what == "watch":
            for kind in ("video", "audio"):
                receives = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
                self.peer.emit("add-transceiver", receives, Gst.Caps.from_string(self.caps(kind, PARAMETERS[codec])))
            self.peer.connect("pad-added", self.add_sink)
        else:
            for index in range(2):
                self.peer.emit("get-transceiver", index).set_property(
                    "direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY
                )
            GLib.timeout_add(1000 // fps, self.push)
        self.peer.connect("on-negotiation-needed", self.offer)
        self.peer.connect("notify::ice-gathering-state", self.gathering_changed)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.failed)

    def run(self) -> None:
        threading.Thread(target=self.wait_for_end, daemon=True).start()
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        if self.location:
            urllib.request.urlopen(urllib.request.Request(self.location, method="DELETE"), timeout=10)
        self.pipeline.set_state(Gst.State.NULL)
        if self.error:
            sys.exit(self.error)

    def caps(self, kind: str, parameters: str = "") -> str:
        if kind == "audio":
            return f"application/x-rtp,media=audio,encoding-name=OPUS,payload={AUDIO_TYPE},clock-rate=48000"
        return (
            f"application/x-rtp,media=video,encoding-name={self.codec},payload={VIDEO_TYPE},clock-rate=90000"
            f"{parameters}"
        )

    # --- signalling

    def offer(self, _: Gst.Element) -> None:
        self.peer.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered))

    def offered(self, promise: Gst.Promise) -> None:
        reply = promise.get_reply()  # which owns the offer
        self.peer.emit("set-local-description", reply.get_value("offer"), Gst.Promise.new())

    def gathering_changed(self, *_: object) -> None:
        if self.peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self.negotiate)

    def negotiate(self) -> bool:
        if self.location or self.error:
            return False
        sdp = self.peer.get_property("local-description").sdp.as_text()
        request = urllib.request.Request(self.url, sdp.encode(), {"Content-Type": "application/sdp"})
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                self.location = urllib.parse.urljoin(self.url, response.headers["Location"])
                text = response.read()
        except urllib.error.HTTPError as error:
            self.stop(f"{error.code}: {error.read().decode()}\n{sdp}")
            return False
        _, message = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(text, message)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.peer.emit("set-remote-description", answer, Gst.Promise.new())
        return False

    # --- media

    def push(self) -> bool:
        width, height = self.size
        block = width // BITS
        row = b"".join((b"\xd2" if self.number >> bit & 1 else b"\x2d") * block for bit in range(BITS))
        top = row.ljust(width, b"\x2d") * (height // 4)
        luma = top + bytes([25 + 3 * self.number % 200]) * (width * height - len(top))
        buffer = Gst.Buffer.new_wrapped(luma + b"\x80" * (width * height // 2))
        self.pipeline.get_by_name("pictures").emit("push-buffer", buffer)
        self.number += 1
        return True

    def add_sink(self, _: Gst.Element, pad: Gst.Pad) -> None:
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        kind = pad.get_current_caps().get_structure(0).get_value("media")
        if kind == "video":
            described = f"queue ! {DECODERS[self.codec]} ! videoconvert ! video/x-raw,format=I420"
        else:
            described = "queue ! rtpopusdepay ! opusdec"
        sink = Gst.parse_bin_from_description(f"{described} ! appsink name=end sync=false emit-signals=true", True)
        sink.get_by_name("end").connect("new-sample", self.show if kind == "video" else self.hear)
        self.peer.get_parent().add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def show(self, end: Gst.Element) -> Gst.FlowReturn:
        sample = end.emit("pull-sample")
        shape = sample.get_caps().get_structure(0)
        width, height = shape.get_value("width"), shape.get_value("height")
        stride = (width + 3) // 4 * 4
        row = sample.get_buffer().extract_dup(height // 8 * stride, width)
        block = width // BITS
        print(sum((row[bit * block + block // 2] > 128) << bit for bit in range(BITS)), flush=True)
        return Gst.FlowReturn.OK

    def hear(self, end: Gst.Element) -> Gst.FlowReturn:
        end.emit("pull-sample")
        print("sound", flush=True)
        return Gst.FlowReturn.OK

    # --- the end

    def wait_for_end(self) -> None:
        sys.stdin.read()
        GLib.idle_add(self.stop, "")

    def failed(self, _: Gst.Bus, message: Gst.Message) -> None:
        error, details = message.parse_error()
        self.stop(f"{error.message} {details}")

    def stop(self, error: str) -> bool:
        self.error = error
        self.loop.quit()
        return False


if __name__ == "__main__":
    Gst.init(None)
    GstPeer(*sys.argv[1:4], *map(int, sys.argv[4:])).run()  # type: ignore[arg-type]
