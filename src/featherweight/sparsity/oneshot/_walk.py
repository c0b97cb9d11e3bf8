"""A function that waits where it says until it is told to go on, while its owner does something else.

It has a thread of its own, so that it may wait in the midst of any network's forward pass; it runs only while
its owner waits for it, so that there is never more than one that runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch


class Walk:
    """A function on its way.

    Attributes:
        ended: whether it came to its end.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        """Make a walk of ``function``, which does not begin before the first ``go``.

        It runs in the caller's autocast, devices, CUDA stream and gradient mode.
        """
        self.ended = False
        self._function, self._state = function, _state()
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None
        self._leaving = False

    def go(self) -> None:
        """Let it run until it waits or ends; raises what it raises."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="featherweight walk", daemon=True)
            self._thread.start()
        else:
            self._turn.release()
        self._back.acquire()
        if self._fault is not None:
            raise self._fault

    def wait(self) -> None:
        """Wait for the next ``go``; called by the function, or by what it calls."""
        if self._leaving:
            raise _LeftError
        self._back.release()
        self._turn.acquire()
        if self._leaving:
            raise _LeftError

    def leave(self) -> None:
        """End it where it waits: blocks that it is in are left as by an exception."""
        self._leaving = True
        if self._thread is not None:
            self._turn.release()
            self._thread.join()

    def _run(self) -> None:
        try:
            with self._state():
                self._function()
        except _LeftError:
            pass
        except BaseException as error:
            self._fault = error
        self.ended = True
        self._back.release()


class _LeftError(BaseException):
    """Raised in a walk that is left; no Exception, for a network may catch those."""


def _state() -> Callable[[], AbstractContextManager[None]]:
    """Return a context that gives another thread what torch keeps for each: that of this thread."""
    grad, device = torch.is_grad_enabled(), torch.get_default_device()
    kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    casts = {kind: (torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) for kind in kinds}
    cached = torch.is_autocast_cache_enabled()
    stream = torch.cuda.current_stream() if torch.cuda.is_initialized() else None

    @contextmanager
    def entered() -> Generator[None]:
        with ExitStack() as stack:
            if stream is not None:
                stack.enter_context(torch.cuda.stream(stream))
            if device != torch.get_default_device():
                stack.enter_context(device)
            for kind, (dtype, enabled) in casts.items():
                stack.enter_context(torch.autocast(kind, dtype, enabled, cached))
            stack.enter_context(torch.set_grad_enabled(grad))
            yield

    return entered
