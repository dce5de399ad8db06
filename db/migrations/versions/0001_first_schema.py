"""First schema"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _people()
    _pictures()
    _answers()
    _counts()
    _runs()
    _work()


def _people() -> None:
    op.create_table(
        "counter",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )
    op.create_table(
        "user",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("name", name=op.f("uq_user_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "session",
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_session_user_id")),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_session")),
    )
    op.create_index("ix_session_user_id", "session", ["user_id"])
    op.create_table(
        "worker_beat",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("doing", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_worker_beat")),
    )


def _pictures() -> None:
    op.create_table(
        "project",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        sa.UniqueConstraint("name", name=op.f("uq_project_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "category",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("archived_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_category_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_category")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_category_project_id", "category", ["project_id"])
    op.create_index(
        "uq_category_active_name",
        "category",
        ["project_id", "name_key"],
        unique=True,
        sqlite_where=sa.text("archived_at IS NULL"),
        postgresql_where=sa.text("archived_at IS NULL"),
    )
    op.create_table(
        "image",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("original", sa.Text(), nullable=False),
        sa.Column("canonical", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_image_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_image_project_id_name")),
        sa.UniqueConstraint("project_id", "sha256", name=op.f("uq_image_project_id_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_image_project_id_id", "image", ["project_id", "id"])


def _answers() -> None:
    op.create_table(
        "decision",
        sa.Column("seq", ID, nullable=False),
        sa.Column("op_id", sa.Text(), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("image_id", ID, nullable=False),
        sa.Column("category_id", ID, nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("shown_ms", sa.BigInteger(), nullable=True),
        sa.Column("generation_id", ID, nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("random_stream", sa.Boolean(), nullable=False),
        sa.Column("undo_of", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN (-1, 0, 1, 2)", name=op.f("ck_decision_state")),
        sa.ForeignKeyConstraint(["category_id"], ["category.id"], name=op.f("fk_decision_category_id")),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_decision_image_id")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_decision_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_decision_user_id")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_decision")),
        sa.UniqueConstraint("op_id", name=op.f("uq_decision_op_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_decision_image_id_category_id_seq", "decision", ["image_id", "category_id", "seq"])
    op.create_index("ix_decision_project_id_seq", "decision", ["project_id", "seq"])
    op.create_table(
        "label",
        sa.Column("image_id", ID, autoincrement=False, nullable=False),
        sa.Column("category_id", ID, autoincrement=False, nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("seq", ID, nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.Column("generation_id", ID, nullable=True),
        sa.Column("score", sa.Double(), nullable=True),
        sa.CheckConstraint("state IN (-1, 1, 2)", name=op.f("ck_label_state")),
        sa.ForeignKeyConstraint(["category_id"], ["category.id"], name=op.f("fk_label_category_id")),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_label_image_id")),
        sa.ForeignKeyConstraint(["seq"], ["decision.seq"], name=op.f("fk_label_seq")),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_label_user_id")),
        sa.PrimaryKeyConstraint("image_id", "category_id", name=op.f("pk_label")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_label_category_id_state_image_id", "label", ["category_id", "state", "image_id"])
    op.create_index("ix_label_seq", "label", ["seq"])


def _counts() -> None:
    op.create_table(
        "category_stat",
        sa.Column("category_id", ID, autoincrement=False, nullable=False),
        sa.Column("positive", sa.Integer(), nullable=False),
        sa.Column("negative", sa.Integer(), nullable=False),
        sa.Column("unsure", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "positive >= 0 AND negative >= 0 AND unsure >= 0", name=op.f("ck_category_stat_not_negative")
        ),
        sa.ForeignKeyConstraint(["category_id"], ["category.id"], name=op.f("fk_category_stat_category_id")),
        sa.PrimaryKeyConstraint("category_id", name=op.f("pk_category_stat")),
        sqlite_with_rowid=False,
    )


def _runs() -> None:
    op.create_table(
        "snapshot",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("up_to_seq", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_snapshot_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
        sa.UniqueConstraint("project_id", "digest", name=op.f("uq_snapshot_project_id_digest")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "generation",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("snapshot_id", ID, nullable=False),
        sa.Column("up_to_seq", sa.BigInteger(), nullable=False),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", sa.Text(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_generation_project_id")),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshot.id"], name=op.f("fk_generation_snapshot_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
    )
    op.create_index("ix_generation_project_id_id", "generation", ["project_id", "id"])
    op.create_index(
        "uq_generation_current",
        "generation",
        ["project_id"],
        unique=True,
        sqlite_where=sa.text("status = 'current'"),
        postgresql_where=sa.text("status = 'current'"),
    )


def _work() -> None:
    op.create_table(
        "job",
        sa.Column("id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("wanted_seq", sa.BigInteger(), nullable=False),
        sa.Column("reached_seq", sa.BigInteger(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("curves", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_job_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_job_project_id_kind_id", "job", ["project_id", "kind", "id"])
    op.create_index("ix_job_status", "job", ["status"])
    op.create_index(
        "uq_job_queued",
        "job",
        ["project_id", "kind"],
        unique=True,
        sqlite_where=sa.text("status = 'queued'"),
        postgresql_where=sa.text("status = 'queued'"),
    )
