"""One frozen settings object: defaults, then `annotator.toml`, then `ANNOTATOR_*` variables, then flags."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Settings(BaseSettings):
    """Everything a person may set; read once at start and never changed after."""

    model_config = SettingsConfigDict(
        env_prefix="ANNOTATOR_", toml_file="annotator.toml", frozen=True, extra="forbid"
    )

    data_dir: Path = Field(Path("annotator_data"), description="Database, pictures, features, generations.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    allowed_hosts: tuple[str, ...] = Field((), description="More names this server answers to.")
    single_user: bool | None = Field(
        None, description="True: nobody signs in, on any address. False: everybody does, also on loopback."
    )
    insecure_http: bool = Field(False, description="Take passwords over plain HTTP from other machines.")
    ssl_certfile: Path | None = Field(None, description="Certificate for HTTPS, with its chain (PEM).")
    ssl_keyfile: Path | None = Field(None, description="Key of the certificate (PEM).")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="Addresses of proxies whose X-Forwarded-For and -Proto are believed."
    )
    port: int = Field(7860, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    backbone: str = Field("lite0-320", description="Frozen backbone, see `dsrb_core.backbones`.")
    device: str = Field("auto", description="torch device for the worker: auto, cpu, cuda, cuda:1 ...")
    category_vectors: str = Field(
        "learned",
        pattern=r"^(learned|text|glove:.+)$",
        description="Category vectors: learned, text or glove:PATH.",
    )
    retrain_every: int = Field(50, ge=1, description="New decisions that start a training by themselves.")
    retrain_minutes: float = Field(10.0, gt=0, description="Minutes after which any new one starts it.")
    epochs: int = Field(12, ge=1, description="Epochs of a training at the most.")
    seed: int = Field(0, ge=0, description="Seed of hold-out split, training and random questions.")
    random_share: float = Field(
        0.05, ge=0, le=0.5, description="Share of questions drawn at random and asked blind; 0 for none."
    )
    overlap: bool = Field(
        False, description="Ask several people about the same pictures at the same time, to compare them."
    )
    threads: int = Field(0, ge=0, description="Worker threads; 0 means all cores but one, at least one.")
    max_pixels: int = Field(120_000_000, ge=1, description="Pictures with more pixels are refused.")
    zip_entries: int = Field(50_000, ge=1, description="ZIP archives with more entries are refused.")
    zip_bytes: int = Field(20 * 10**9, ge=1, description="ZIP archives that unpack to more are refused.")
    instance_limit_bytes: int = Field(
        4 * 2**30, ge=0, description="Largest instance features of a generation."
    )
    candidates: int = Field(12, ge=1, le=100, description="Candidates shown for one picture.")
    keep_generations: int = Field(
        5, ge=1, description="Generations of a project whose files stay on disk, the current one included."
    )
    gate_tolerance: float = Field(
        2.0,
        ge=0,
        le=100,
        description="Points of mAP a new generation may be worse by, beyond the error of comparing.",
    )
    stall_minutes: float = Field(
        30.0, gt=0, description="Minutes without a step after which a hanging worker is killed."
    )
    lease_s: float = Field(
        15.0, gt=0, description="Seconds without a heartbeat after which a job is taken over."
    )

    disk_low_percent: float = Field(
        5.0, ge=0, le=100, description="Free share of the disk below which uploads and trainings wait."
    )
    disk_low_bytes: int = Field(2**30, ge=0, description="Free bytes below which they wait, too.")
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="Log of server and worker: text, json, or auto (text on a terminal, else JSON)."
    )
    purge_days: float = Field(
        30.0, ge=0, description="Days after which an archived project can be removed for good."
    )
    purge_by_itself: bool = Field(
        False, description="Remove archived projects for good after that time without being asked."
    )
    ballast_bytes: int = Field(
        64 * 2**20, ge=0, description="Room put aside for `annotator free-space`; 0 for none."
    )

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "annotator.db"

    @property
    def encrypted(self) -> bool:
        """True when what is sent over a network is: by our own TLS, or by a proxy that has it."""
        return self.ssl_certfile is not None or bool(self.trusted_proxies)

    @property
    def loopback_only(self) -> bool:
        """True when nobody but this machine can connect."""
        return self.host in LOOPBACK

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over variables, variables over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
