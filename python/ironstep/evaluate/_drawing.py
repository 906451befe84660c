"""All pictures of a report, drawn by this process and, where it is there, by a second one beside it.

The second one is started before anything is computed: matplotlib takes long to import.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from . import _figures
from ._figures import Picture
from ._results import Results

_START = "import sys; sys.path[:] = {path!r}; from ironstep.evaluate._drawing import draw_for; draw_for()"


class Helper:
    """A process that draws; after an error in it, or its end, whoever asked draws by himself."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Helper:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()  # it has come to the end of what it reads
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # what is not sent yet has no reader
                pipe.close()

    def send(self, message: Any) -> bool:
        """Return whether it could be sent."""
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except OSError:
            return False
        return True

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                self._answers.put(pickle.load(self._process.stdout))
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            self._answers.put(None)

    def is_done(self) -> bool:
        """Whether there is an answer."""
        return not self._answers.empty()

    def answer(self) -> str | None:
        """Wait for the picture; None if there is none."""
        while True:
            try:
                return self._answers.get(timeout=0.2)  # for Windows, where Ctrl-C waits as long
            except queue.Empty:
                continue


def helper() -> Helper | None:
    """Return a second process where it has a core to run on."""
    if not sys.executable or _cores() < 2:
        return None
    try:
        return Helper()
    except OSError:
        return None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def draw_all(
    results: Results,
    pictures: Sequence[Picture],
    folder: Path,
    progress: Callable[[str], object],
    beside: Helper | None,
) -> dict[str, str]:
    """Write the pictures into a folder; return their SVGs by name."""
    left, drawn = deque(pictures), dict[str, str]()
    theirs: deque[Picture] = deque()
    if beside is not None and not beside.send((results, folder, _figures.DPI)):
        beside = None
    while left or theirs:
        # Two at a time: while this process imports matplotlib the other is not to wait.
        while beside is not None and len(theirs) < 2 and len(left) > 1:
            if not beside.send(left[-1]):
                beside = None
                break
            theirs.append(left.pop())
        if left:
            from ._saving import save

            picture = left.popleft()
            progress(f"picture: {picture.name}")
            drawn[picture.name] = save(results, picture, folder, _figures.DPI)
        while beside is not None and theirs and (beside.is_done() or not left):
            svg = beside.answer()
            if svg is None:
                beside = None
            else:
                drawn[theirs.popleft().name] = svg
        if beside is None:
            left.extend(theirs)
            theirs.clear()
    return drawn


def draw_for() -> None:
    """Draw for another process, until it has no more to ask."""
    # Whoever asks stops it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from ._saving import save

    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    try:
        results, folder, dpi = pickle.load(asked)
        while True:
            pickle.dump(save(results, pickle.load(asked), folder, dpi), answers)
            answers.flush()
    except (EOFError, OSError):
        pass
