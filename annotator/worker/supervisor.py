"""Keeps one worker process alive beside the web server."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from annotator.settings import Settings
from annotator.worker.signs import BEAT_FD, SERVER_PID

log = logging.getLogger(__name__)

STOP_S = 6.0  # a worker that has not ended by then is killed; its job is taken up again at the next start
BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
HEALTHY_S = 60.0  # a worker that lived this long starts the back-off anew
SILENT_S = 60.0  # without a heartbeat for so long a worker hangs and is killed
FIRST_BEAT_S = 300.0  # until the first one: a cold disk takes its time to read torch


class Supervisor:
    """Starts the worker, starts it again when it dies or hangs, stops it with the server."""

    def __init__(self, settings: Settings, *, command: list[str] | None = None) -> None:
        self._command = command or [sys.executable, "-m", "annotator", "worker", "--with-parent"]
        self._environment = {**os.environ, **environment_of(settings)}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="supervisor", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.hung = 0  # workers that were killed because they did not answer

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
            ended = self._one_life()
            if self._stopping.is_set():
                return
            failures = 0 if time.monotonic() - began > HEALTHY_S else failures + 1
            pause = BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]
            log.warning("The worker %s; starting it again in %g s.", ended, pause)
            self._stopping.wait(pause)

    def _one_life(self) -> str:
        """Start a worker and stay until it has ended; how that came about."""
        try:
            with self._started() as (process, pipe):
                self._watch(process, pipe)
                if self._stopping.is_set():
                    self._end(process)
        except OSError as error:  # no memory, process or file for another one now
            return f"could not be started ({error.strerror or error})"
        return f"ended (exit {process.returncode})"

    @contextmanager
    def _started(self) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """A new worker and our end of the pipe on which it tells that it lives."""
        ours, its = os.pipe()
        os.set_blocking(ours, False)
        try:
            try:
                # A session of its own: Ctrl-C reaches us alone, and we end the worker in order.
                process = subprocess.Popen(
                    self._command,
                    env={**self._environment, BEAT_FD: str(its), SERVER_PID: str(os.getpid())},
                    pass_fds=(its,),
                    start_new_session=True,
                )
            finally:
                os.close(its)
            self._process = process
            self.starts += 1
            yield process, ours
        finally:
            os.close(ours)

    def _watch(self, process: subprocess.Popen[bytes], pipe: int) -> None:
        """Return when the worker has ended or the server stops; kill a worker that has gone silent."""
        heard, limit = time.monotonic(), FIRST_BEAT_S
        while process.poll() is None and not self._stopping.wait(0.2):
            if _any_beat(pipe):
                heard, limit = time.monotonic(), SILENT_S
            elif time.monotonic() - heard > limit:
                log.error("The worker has not answered for %g s; it is killed and started again.", limit)
                self.hung += 1
                process.kill()
                process.wait()

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            log.warning("The worker did not end in %g s and is killed.", STOP_S)
            process.kill()
            process.wait()


def _any_beat(pipe: int) -> bool:
    try:
        return bool(os.read(pipe, 4096))
    except BlockingIOError:
        return False


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
