"""What can be set about the relay: the options of `hime serve`, `HIME_*` environment variables, or a TOML file."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from server.settings.access import AccessSettings
from server.settings.cluster import ClusterSettings
from server.settings.invalid import PREFIX, InvalidSettings, config_source, in_one_line
from server.settings.lifecycle import LifecycleSettings
from server.settings.limits import LimitSettings
from server.settings.media import MediaSettings
from server.settings.network import IceServer, NetworkSettings
from server.settings.storage import StorageSettings
from server.settings.workers import WorkerSettings

__all__ = ["IceServer", "InvalidSettings", "Settings", "load_settings"]

CLIENT_BUILD = Path(__file__).resolve().parents[2] / "client_web" / "dist"


class Settings(
    StorageSettings,
    MediaSettings,
    NetworkSettings,
    AccessSettings,
    LimitSettings,
    LifecycleSettings,
    WorkerSettings,
    ClusterSettings,
    BaseSettings,
):
    """Where the relay listens. Rates are in bit/s, sizes in bytes or pixels, the rest as the names say."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, validate_default=True)

    config: Path | None = Field(None, description="TOML file with settings; what is given elsewhere comes first")
    host: str = Field("127.0.0.1", min_length=1, description="name or address to listen on; 0.0.0.0 for all of IPv4's")
    port: int = Field(8080, ge=0, le=65535, description="0 takes any free port")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least that is logged, to standard error"
    )
    client: Path = Field(CLIENT_BUILD, description="the built web client")

    @field_validator("config", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return value or None

    @model_validator(mode="after")
    def _a_port_for_each_worker(self) -> Self:
        first, last = self.ports
        if last and last - first + 1 < self.worker_count:
            needed = f"{self.worker_count} workers need a port each, and there is {last - first + 1}"
            such = f"{first}-{first + self.worker_count - 1}"
            raise ValueError(f"HIME_UDP_PORTS: {needed}: give a range such as {such}, or fewer workers")
        return self

    @model_validator(mode="after")
    def _nodes_share_and_are_reached(self) -> Self:
        if not self.cluster:
            return self
        shared = {
            "HIME_DATABASE_URL": self.database_url,
            "HIME_PHOTOS_URL": self.photos_url,
            "HIME_DATA_KEY": self.data_key.get_secret_value() or self.data_key_file,
        }
        if missing := [name for name, value in shared.items() if not value]:
            raise ValueError(f"{missing[0]}: needed with --cluster, and the same for all nodes, which share the photos")
        if not self.public_url and not self.loopback_only:
            raise ValueError(
                "HIME_PUBLIC_URL: needed with --cluster: where browsers reach this node, as https://one.example.org"
            )
        return self

    @property
    def worker_count(self) -> int:
        """Processes that carry media."""
        first, last = self.ports
        return self.workers_for(last - first + 1 if last else 0)

    @property
    def loopback_only(self) -> bool:
        """Whether nobody beyond this machine reaches the relay."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The first that has a setting counts. Raises InvalidSettings where the file cannot be read."""
        assert isinstance(init_settings, InitSettingsSource) and isinstance(env_settings, EnvSettingsSource)
        file = init_settings.init_kwargs.get("config") or env_settings.env_vars.get("hime_config")
        given = (init_settings, env_settings)
        return (*given, config_source(settings_cls, Path(file))) if file else given


def load_settings(**options: Any) -> Settings:
    """Settings from options that are not None, then from the environment, then from the file that `config` names.

    Raises InvalidSettings with one line that names the setting and what would be right.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        file = given.get("config") or EnvSettingsSource(Settings).env_vars.get("hime_config")
        known = Settings.model_fields
        raise InvalidSettings(in_one_line(error, known, given, Path(file) if file else None)) from None
