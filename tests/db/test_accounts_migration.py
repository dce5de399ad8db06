"""Schema 0002 on a database of schema 0001: the one account becomes the administrator, no answer changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from db import migrate
from db.engine import make_engine, writing

ROWS = (
    "INSERT INTO user (id, name, password_hash, created_at) VALUES (1, 'owner', '$argon2id$x', 5)",
    "INSERT INTO user (id, name, created_at) VALUES (2, 'somebody', 6)",
    "INSERT INTO project (id, name, created_at) VALUES (1, 'pets', 7)",
    "INSERT INTO category (id, project_id, name, name_key, position, created_at)"
    " VALUES (1, 1, 'cat', 'cat', 0, 8)",
    "INSERT INTO image (id, project_id, sha256, name, media_type, width, height, state, original, canonical,"
    " created_at) VALUES (1, 1, 'ab', 'a.jpg', 'image/jpeg', 4, 3, 'ready', 'o', 'c', 9)",
    "INSERT INTO decision (seq, op_id, project_id, image_id, category_id, state, source, user_id, mode,"
    " random_stream, decided_at) VALUES (1, 'one', 1, 1, 1, 1, 'human', 1, 'image', 0, 10)",
    "INSERT INTO label (image_id, category_id, state, source, user_id, seq, decided_at)"
    " VALUES (1, 1, 1, 'human', 1, 1, 10)",
    "INSERT INTO session (token_sha256, user_id, created_at, expires_at) VALUES ('cd', 1, 11, 12)",
)


def everything(c: Connection) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the first schema's tables, by the columns it had."""
    return {
        "user": list(map(tuple, c.exec_driver_sql("SELECT id, name, password_hash, created_at FROM user"))),
        "project": list(map(tuple, c.exec_driver_sql("SELECT id, name, created_at FROM project"))),
        "decision": list(map(tuple, c.exec_driver_sql("SELECT seq, op_id, state, user_id FROM decision"))),
        "label": list(map(tuple, c.exec_driver_sql("SELECT * FROM label"))),
        "session": list(map(tuple, c.exec_driver_sql("SELECT * FROM session"))),
    }


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "annotator.db"
    engine = writing(make_engine(path))
    with engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for row in ROWS:
            connection.exec_driver_sql(row)
    engine.dispose()
    return path


def test_the_owner_becomes_the_administrator_and_every_row_stays(old: Path) -> None:
    engine = make_engine(old)
    with engine.connect() as c:
        before = everything(c)
    migrate.upgrade(old)
    with engine.connect() as c:
        assert everything(c) == before
        assert list(c.exec_driver_sql("SELECT id, is_admin, disabled_at FROM user ORDER BY id")) == [
            (1, 1, None),
            (2, 0, None),
        ]
        assert list(c.exec_driver_sql("SELECT base_seq FROM decision")) == [(None,)]
        assert list(c.exec_driver_sql("SELECT archived_at FROM project")) == [(None,)]
        for table in ("membership", "invitation", "api_token", "deed"):
            assert list(c.exec_driver_sql(f"SELECT * FROM {table}")) == []
        assert c.exec_driver_sql("PRAGMA foreign_key_check").fetchall() == []
    engine.dispose()


@pytest.mark.parametrize("role", ["owner", "ADMIN", "", "server_admin"])
def test_the_database_itself_knows_the_four_roles_alone(old: Path, role: str) -> None:
    migrate.upgrade(old)
    engine = make_engine(old)
    with pytest.raises(IntegrityError, match="CHECK constraint"), engine.begin() as c:
        c.exec_driver_sql(
            "INSERT INTO membership (project_id, user_id, role, created_at) VALUES (1, 1, ?, 1)", (role,)
        )
    engine.dispose()
