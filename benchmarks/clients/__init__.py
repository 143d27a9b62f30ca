"""Clients that others made, and the relay's own without a browser."""

from benchmarks.clients.check import Client
from benchmarks.clients.firefox import Firefox

CLIENTS: tuple[Client, ...] = (Firefox(),)
