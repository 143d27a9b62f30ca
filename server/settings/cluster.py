"""Of which machines the relay is."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator

from server.settings.quoting import quoted

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
ADDRESS = re.compile(r"auto|local|\[?[A-Za-z0-9_.:-]+\]?:\d{1,5}")


class ClusterSettings(BaseModel):
    """Relays on many machines that are one, on Ray (docs/cluster.md). They share the database, the photos' files and
    all keys."""

    cluster: bool = Field(False, description="whether this relay is one node of several; needs hime-relay[cluster]")
    cluster_address: str = Field(
        "auto",
        description="host:port of Ray's head; auto: of the Ray node on this machine; local: starts a head here, to try "
        "it on one machine",
    )
    cluster_namespace: str = Field("hime", description="relays of the same name on one Ray are one relay")
    cluster_engines: int = Field(
        0, ge=0, le=1024, description="engines on Ray that all nodes share; 0: each node has its own"
    )
    public_url: str = Field(
        "",
        description="under which browsers reach this node and no other, such as https://one.example.org; needed for "
        "nodes that listen to more than loopback",
    )

    @field_validator("cluster_address")
    @classmethod
    def _is_address(cls, address: str) -> str:
        if not ADDRESS.fullmatch(address):
            raise ValueError(f"{quoted(address)} is neither auto, local nor a host and port such as 192.0.2.7:6379")
        return address

    @field_validator("cluster_namespace")
    @classmethod
    def _is_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(f"{quoted(name)} is no name of 1 to 64 letters, digits, '_' and '-'")
        return name

    @field_validator("public_url")
    @classmethod
    def _is_origin(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/")):
            raise ValueError(f"{quoted(url)} is not a URL without a path, such as https://one.example.org")
        return url.rstrip("/").lower()
