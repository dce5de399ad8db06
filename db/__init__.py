"""Schema, engine and migrations of the database; imports SQLAlchemy and Alembic only."""
