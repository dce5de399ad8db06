"""One frozen settings object: defaults, then `annotator.toml`, then `ANNOTATOR_*` variables, then flags."""

from __future__ import annotations

from pathlib import Path

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
    port: int = Field(7860, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    backbone: str = Field("lite0-320", description="Frozen backbone, see `dsrb_core.backbones`.")
    device: str = Field("auto", description="torch device for the worker: auto, cpu, cuda, cuda:1 ...")
    category_vectors: str = Field("learned", description="Category vectors: learned, text or glove:PATH.")
    retrain_every: int = Field(50, ge=1, description="New decisions that start a training by themselves.")
    retrain_minutes: float = Field(10.0, gt=0, description="Minutes after which any new one starts it.")
    epochs: int = Field(12, ge=1, description="Epochs of a training at the most.")
    seed: int = Field(0, ge=0, description="Seed of hold-out split, training and random questions.")
    random_share: float = Field(
        0.05, ge=0, le=0.5, description="Share of questions drawn at random and asked blind; 0 for none."
    )
    threads: int = Field(0, ge=0, description="Worker threads; 0 means all cores but one, at least one.")
    max_pixels: int = Field(120_000_000, ge=1, description="Pictures with more pixels are refused.")
    instance_limit_bytes: int = Field(
        4 * 2**30, ge=0, description="Largest instance features of a generation."
    )
    candidates: int = Field(12, ge=1, le=100, description="Candidates shown for one picture.")
    lease_s: float = Field(
        15.0, gt=0, description="Seconds without a heartbeat after which a job is taken over."
    )

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data_dir / "annotator.db"

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
