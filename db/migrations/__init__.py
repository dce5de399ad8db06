"""Alembic environment, packaged with the program."""
