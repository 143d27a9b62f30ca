"""What can be set about the relay: `HIME_*` environment variables, or the options of `hime serve`."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from hime_core.errors import InputError
from server.settings.access import AccessSettings
from server.settings.lifecycle import LifecycleSettings
from server.settings.limits import LimitSettings
from server.settings.media import MediaSettings
from server.settings.network import IceServer, NetworkSettings
from server.settings.storage import StorageSettings

__all__ = ["IceServer", "InvalidSettings", "Settings", "load_settings"]

CLIENT_BUILD = Path(__file__).resolve().parents[2] / "client_web" / "dist"


class InvalidSettings(InputError):
    """A setting is wrong; the message is one line that names it."""


class Settings(
    StorageSettings, MediaSettings, NetworkSettings, AccessSettings, LimitSettings, LifecycleSettings, BaseSettings
):
    """The relay's settings. Rates are in bit/s, sizes in bytes or pixels, the rest as the names say."""

    model_config = SettingsConfigDict(env_prefix="HIME_", frozen=True, validate_default=True)

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8080, ge=0, le=65535, description="0 takes any free port")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    client: Path = Field(CLIENT_BUILD, description="the built web client")

    @property
    def loopback_only(self) -> bool:
        """Whether nobody beyond this machine reaches the relay."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def load_settings(**options: Any) -> Settings:
    """Settings from the environment; options that are not None come first.

    Raises InvalidSettings with one line that names the setting and what would be right.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        field = str(first["loc"][0]) if first["loc"] else ""
        name = f"--{field.replace('_', '-')}" if field in given else f"HIME_{field.upper()}"
        raise InvalidSettings(f"{name}: {message}" if field else message) from None
