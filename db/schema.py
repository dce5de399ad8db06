"""Tables of the store.

Ids come from AUTOINCREMENT, so an id is never given out twice, not even after a row is gone. Times are
integer milliseconds since 1970 UTC. `label` is derived: it always equals the last `decision` of each cell,
and a cell nobody decided (or that was cleared) has no row there.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite gives automatic ids to INTEGER keys only; PostgreSQL wants 64 bits.
Id = BigInteger().with_variant(Integer, "sqlite")
Millis = BigInteger()


class Base(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Project(Base):
    """A set of images with its categories."""

    __tablename__ = "project"
    __table_args__ = (UniqueConstraint("name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Millis)
    archived_at: Mapped[int | None] = mapped_column(Millis)


class User(Base):
    """Somebody who decides; `password_hash` is empty until a password is set."""

    __tablename__ = "user"
    __table_args__ = (UniqueConstraint("name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Millis)
    is_admin: Mapped[bool] = mapped_column(server_default=false(), default=False)
    disabled_at: Mapped[int | None] = mapped_column(Millis)


class Membership(Base):
    """What somebody may do in one project; `is_admin` users need no row."""

    __tablename__ = "membership"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'reviewer', 'annotator', 'viewer')", name="role"),
        {"sqlite_with_rowid": False},
    )

    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(
        ForeignKey("user.id"), primary_key=True, autoincrement=False, index=True
    )
    role: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Millis)


class Invitation(Base):
    """A link that makes an account once, or a new password; only the SHA-256 of its secret is kept.

    `role` "reset": the account `used_by` chooses a new password. `role` "server_admin": no project.
    """

    __tablename__ = "invitation"

    secret_sha256: Mapped[str] = mapped_column(Text, primary_key=True)
    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id"))
    role: Mapped[str] = mapped_column(Text)
    created_by: Mapped[int] = mapped_column(ForeignKey("user.id"))
    created_at: Mapped[int] = mapped_column(Millis)
    expires_at: Mapped[int] = mapped_column(Millis)
    used_at: Mapped[int | None] = mapped_column(Millis)
    used_by: Mapped[int | None] = mapped_column(ForeignKey("user.id"))


class ApiToken(Base):
    """A program's key to an account, shown once; only its SHA-256 is kept."""

    __tablename__ = "api_token"
    __table_args__ = (UniqueConstraint("token_sha256"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    token_sha256: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Millis)
    expires_at: Mapped[int | None] = mapped_column(Millis)
    last_used_at: Mapped[int | None] = mapped_column(Millis)
    revoked_at: Mapped[int | None] = mapped_column(Millis)


class Deed(Base):
    """Append-only: who did which administrative thing; `user_id` is empty for the program itself."""

    __tablename__ = "deed"
    __table_args__ = (Index("ix_deed_project_id_id", "project_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[int] = mapped_column(Millis)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"))
    action: Mapped[str] = mapped_column(Text)
    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id"))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)


class Session(Base):
    """A signed-in browser; only the SHA-256 of its token is kept."""

    __tablename__ = "session"

    token_sha256: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    created_at: Mapped[int] = mapped_column(Millis)
    expires_at: Mapped[int] = mapped_column(Millis)


class Image(Base):
    """One picture of a project; `original` and `canonical` are paths relative to the data folder."""

    __tablename__ = "image"
    __table_args__ = (
        UniqueConstraint("project_id", "sha256"),
        UniqueConstraint("project_id", "name"),
        Index("ix_image_project_id_id", "project_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    sha256: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(Text)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(Text)
    original: Mapped[str] = mapped_column(Text)
    canonical: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Millis)


class Category(Base):
    """One yes/no question; `name_key` is the case-folded name that must be unique while active."""

    __tablename__ = "category"
    __table_args__ = (
        Index(
            "uq_category_active_name",
            "project_id",
            "name_key",
            unique=True,
            sqlite_where=text("archived_at IS NULL"),
            postgresql_where=text("archived_at IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    name: Mapped[str] = mapped_column(Text)
    name_key: Mapped[str] = mapped_column(Text)
    position: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[int] = mapped_column(Millis)
    archived_at: Mapped[int | None] = mapped_column(Millis)


class Decision(Base):
    """Append-only: every answer ever given, in order of `seq`; state 0 clears the cell."""

    __tablename__ = "decision"
    __table_args__ = (
        UniqueConstraint("op_id"),
        CheckConstraint("state IN (-1, 0, 1, 2)", name="state"),
        Index("ix_decision_project_id_seq", "project_id", "seq"),
        Index("ix_decision_image_id_category_id_seq", "image_id", "category_id", "seq"),
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(Id, primary_key=True)
    op_id: Mapped[str] = mapped_column(Text)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"))
    category_id: Mapped[int] = mapped_column(ForeignKey("category.id"))
    state: Mapped[int] = mapped_column(SmallInteger)
    source: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    mode: Mapped[str] = mapped_column(Text)
    shown_ms: Mapped[int | None] = mapped_column(Millis)
    generation_id: Mapped[int | None] = mapped_column(Id)
    score: Mapped[float | None] = mapped_column()
    random_stream: Mapped[bool] = mapped_column()
    undo_of: Mapped[str | None] = mapped_column(Text)
    decided_at: Mapped[int] = mapped_column(Millis)
    base_seq: Mapped[int | None] = mapped_column(BigInteger)


class Label(Base):
    """Current state of each decided cell, written in the transaction of its decision."""

    __tablename__ = "label"
    __table_args__ = (
        CheckConstraint("state IN (-1, 1, 2)", name="state"),
        Index("ix_label_category_id_state_image_id", "category_id", "state", "image_id"),
        Index("ix_label_seq", "seq"),
        {"sqlite_with_rowid": False},
    )

    image_id: Mapped[int] = mapped_column(ForeignKey("image.id"), primary_key=True, autoincrement=False)
    category_id: Mapped[int] = mapped_column(ForeignKey("category.id"), primary_key=True, autoincrement=False)
    state: Mapped[int] = mapped_column(SmallInteger)
    source: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    seq: Mapped[int] = mapped_column(ForeignKey("decision.seq"))
    decided_at: Mapped[int] = mapped_column(Millis)
    generation_id: Mapped[int | None] = mapped_column(Id)
    score: Mapped[float | None] = mapped_column()


class CategoryStat(Base):
    """Counts of decided cells per category, kept in the transaction of each decision."""

    __tablename__ = "category_stat"
    __table_args__ = (
        CheckConstraint("positive >= 0 AND negative >= 0 AND unsure >= 0", name="not_negative"),
        {"sqlite_with_rowid": False},
    )

    category_id: Mapped[int] = mapped_column(ForeignKey("category.id"), primary_key=True, autoincrement=False)
    positive: Mapped[int] = mapped_column(Integer)
    negative: Mapped[int] = mapped_column(Integer)
    unsure: Mapped[int] = mapped_column(Integer)


class Snapshot(Base):
    """Labels frozen at `up_to_seq`; the same content has one row only."""

    __tablename__ = "snapshot"
    __table_args__ = (UniqueConstraint("project_id", "digest"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    up_to_seq: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(Text)
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[int] = mapped_column(Millis)


class Generation(Base):
    """One published run; at most one per project is current."""

    __tablename__ = "generation"
    __table_args__ = (
        Index(
            "uq_generation_current",
            "project_id",
            unique=True,
            sqlite_where=text("status = 'current'"),
            postgresql_where=text("status = 'current'"),
        ),
        Index("ix_generation_project_id_id", "project_id", "id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshot.id"))
    up_to_seq: Mapped[int] = mapped_column(BigInteger)
    backbone: Mapped[str] = mapped_column(Text)
    folder: Mapped[str] = mapped_column(Text)
    manifest_sha256: Mapped[str] = mapped_column(Text)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Millis)


class Job(Base):
    """Work for the worker; at most one queued job per project and kind."""

    __tablename__ = "job"
    __table_args__ = (
        Index(
            "uq_job_queued",
            "project_id",
            "kind",
            unique=True,
            sqlite_where=text("status = 'queued'"),
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_job_status", "status"),
        Index("ix_job_project_id_kind_id", "project_id", "kind", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    kind: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    wanted_seq: Mapped[int] = mapped_column(BigInteger)
    reached_seq: Mapped[int | None] = mapped_column(BigInteger)
    owner: Mapped[str | None] = mapped_column(Text)
    lease_until: Mapped[int | None] = mapped_column(Millis)
    heartbeat_at: Mapped[int | None] = mapped_column(Millis)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    stage: Mapped[str] = mapped_column(Text, default="")
    done: Mapped[int] = mapped_column(BigInteger, default=0)
    total: Mapped[int] = mapped_column(BigInteger, default=0)
    message: Mapped[str] = mapped_column(Text, default="")
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    curves: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    created_at: Mapped[int] = mapped_column(Millis)
    started_at: Mapped[int | None] = mapped_column(Millis)
    finished_at: Mapped[int | None] = mapped_column(Millis)


class WorkerBeat(Base):
    """Last sign of life of each worker process."""

    __tablename__ = "worker_beat"

    owner: Mapped[str] = mapped_column(Text, primary_key=True)
    seen_at: Mapped[int] = mapped_column(Millis)
    doing: Mapped[str] = mapped_column(Text)


class Counter(Base):
    """Numbers given out once and never again, such as generation ids that name folders."""

    __tablename__ = "counter"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
