"""The `annotator` command, and `python -m annotator`: whoever stops it, however early, sees no traceback."""

from __future__ import annotations

import sys

STOPPED = 130  # exit code of what a person ended with Ctrl-C


def main() -> None:
    """Run the command; loading it takes a second in which somebody may press Ctrl-C already."""
    try:
        from annotator import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
