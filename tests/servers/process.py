"""A server in a process of its own: started, waited for until it says that it is ready, ended for certain."""

from __future__ import annotations

import contextlib
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
"""The repository's root, from where `python -m tests.servers...` finds its modules."""


class ServerProcess:
    """Runs `command` until the `with` block is left; the first line it prints must read `ready PORT`."""

    def __init__(self, command: Sequence[str], *, patience: float = 20.0) -> None:
        self._command = list(command)
        self._patience = patience
        self.port = 0

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        try:
            word, port = self.read_line().split()
            if word != "ready":
                raise RuntimeError(f"server began with {word!r}, not with 'ready'")
            self.port = int(port)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def read_line(self) -> str:
        """The next line that the server prints; an error with all it complained of where none comes."""
        pipe = self._process.stdout
        assert pipe is not None
        line = b""
        until = time.monotonic() + self._patience
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            byte = pipe.read(1) if ready else b""
            if not byte:
                why = "ended" if ready else f"said nothing for {self._patience} s"
                raise RuntimeError(f"{self._command[0]} server {why}: {self.errors()}")
            line += byte
        return line.decode().strip()

    def write_line(self, line: str) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(f"{line}\n".encode())

    def errors(self) -> str:
        """What the server wrote on standard error so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def stop(self) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()
