"""Clients that others made, and the relay's own without a browser."""

from benchmarks.clients.browsers import Chromium, Firefox
from benchmarks.clients.check import Client
from benchmarks.clients.ffmpeg import FFmpeg
from benchmarks.clients.gstreamer import GStreamer
from benchmarks.clients.node import NodeClient
from benchmarks.clients.own import HimeJoin

CLIENTS: tuple[Client, ...] = (
    Chromium(),
    Firefox(),
    FFmpeg(),
    GStreamer(),
    NodeClient("werift", "werift"),
    NodeClient("libdatachannel", "node-datachannel"),
    HimeJoin(),
)
