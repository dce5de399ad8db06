"""Accounts, memberships, tokens, archived projects, and the revision an answer was based on.

Only adds: SQLite takes every new column in place, so no table is copied and foreign keys stay on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ROLES = "role IN ('admin', 'reviewer', 'annotator', 'viewer')"


def upgrade() -> None:
    _columns()
    _memberships()
    _secrets()
    _deeds()


def _columns() -> None:
    op.add_column("user", sa.Column("is_admin", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("user", sa.Column("disabled_at", sa.BigInteger(), nullable=True))
    op.add_column("project", sa.Column("archived_at", sa.BigInteger(), nullable=True))
    op.add_column("decision", sa.Column("base_seq", sa.BigInteger(), nullable=True))
    # Until now there was one account, and it might do everything.
    op.execute("""UPDATE "user" SET is_admin = true WHERE name = 'owner'""")


def _memberships() -> None:
    op.create_table(
        "membership",
        sa.Column("project_id", ID, autoincrement=False, nullable=False),
        sa.Column("user_id", ID, autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(ROLES, name=op.f("ck_membership_role")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_membership_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_membership_user_id")),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_membership")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_membership_user_id", "membership", ["user_id"])


def _secrets() -> None:
    op.create_table(
        "invitation",
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_by", ID, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("used_by", ID, nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_invitation_project_id")),
        sa.ForeignKeyConstraint(["created_by"], ["user.id"], name=op.f("fk_invitation_created_by")),
        sa.ForeignKeyConstraint(["used_by"], ["user.id"], name=op.f("fk_invitation_used_by")),
        sa.PrimaryKeyConstraint("secret_sha256", name=op.f("pk_invitation")),
    )
    op.create_table(
        "api_token",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_api_token_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_api_token_token_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_api_token_user_id", "api_token", ["user_id"])


def _deeds() -> None:
    op.create_table(
        "deed",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("user_id", ID, nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_deed_user_id")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_deed_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deed")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deed_project_id_id", "deed", ["project_id", "id"])
