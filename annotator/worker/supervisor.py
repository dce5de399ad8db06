"""Keeps one worker process alive beside the web server."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time

from annotator.settings import Settings

log = logging.getLogger(__name__)

STOP_S = 6.0  # a worker that has not ended by then is killed; its job is taken up again at the next start
BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
HEALTHY_S = 60.0  # a worker that lived this long starts the back-off anew


class Supervisor:
    """Starts the worker, starts it again when it dies, stops it with the server."""

    def __init__(self, settings: Settings, *, command: list[str] | None = None) -> None:
        self._command = command or [sys.executable, "-m", "annotator", "worker", "--with-parent"]
        self._environment = {**os.environ, **environment_of(settings)}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="supervisor", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """Process id of the worker that runs now."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the worker; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the worker to end, wait, and kill it when it takes longer than `STOP_S` seconds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S + 2)

    def _keep_alive(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            # A session of its own: Ctrl-C in the terminal reaches us alone and we end the worker in order.
            self._process = subprocess.Popen(self._command, env=self._environment, start_new_session=True)
            self.starts += 1
            while self._process.poll() is None and not self._stopping.wait(0.2):
                pass
            if self._stopping.is_set():
                self._end(self._process)
                return
            failures = 0 if time.monotonic() - began > HEALTHY_S else failures + 1
            pause = BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]
            log.warning(
                "The worker ended (exit %s); starting it again in %g s.", self._process.returncode, pause
            )
            self._stopping.wait(pause)

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            log.warning("The worker did not end in %g s and is killed.", STOP_S)
            process.kill()
            process.wait()


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as variables for the worker, so that both processes agree whatever flags were given."""
    values = settings.model_dump(mode="json", exclude_defaults=True)
    values["data_dir"] = str(settings.data_dir.resolve())
    chosen = {f"ANNOTATOR_{name.upper()}": _text(value) for name, value in values.items()}
    # Two spinning OpenMP pools slow each other down (torch and faiss); waiting threads must sleep.
    return {"OMP_WAIT_POLICY": "PASSIVE", **chosen}


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(f'"{item}"' for item in value) + "]"
    return str(value)
