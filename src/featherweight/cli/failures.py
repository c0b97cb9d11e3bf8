"""What a command says, and its exit code, when it cannot do what it was asked.

0 done; 1 a check failed; 2 it cannot be done as asked; 130 interrupted (Ctrl-C).
``featherweight --debug ...`` or ``FEATHERWEIGHT_DEBUG=1`` shows the traceback as well.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Generator
from contextlib import contextmanager

import typer

from featherweight.errors import FeatherweightError

CHECK_FAILED, CANNOT, INTERRUPTED = 1, 2, 130
_EXTRA = ("torch", "accelerate", "matplotlib", "jinja2", "pooch", "sklearn")


class CheckFailed(Exception):  # noqa: N818 - a finding, not an error
    """The work was done, and what came out is not what it must be."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C, with a message that says how to go on."""


@contextmanager
def answered(debug: bool = False) -> Generator[None]:
    """Turn the errors of the block into a message on stderr and an exit code; other exceptions are bugs.

    Args:
        debug: print the traceback too, as ``FEATHERWEIGHT_DEBUG=1`` does.
    """
    debug = debug or os.environ.get("FEATHERWEIGHT_DEBUG", "0") not in ("", "0")
    try:
        yield
    except CheckFailed as error:
        raise _exit(CHECK_FAILED, f"Check failed: {error}", debug) from error
    except KeyboardInterrupt as error:
        raise _exit(INTERRUPTED, str(error) or "Interrupted.", debug) from error
    except (FeatherweightError, ImportError) as error:
        if (message := _message(error)) is None:
            raise
        raise _exit(CANNOT, message, debug) from error


@contextmanager
def resumable(how: str) -> Generator[None]:
    """Make Ctrl-C within the block say ``how`` to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Stopped(f"Interrupted. {how}") from error


def _message(error: FeatherweightError | ImportError) -> str | None:
    """Return what to tell the user; None for an import that should have worked."""
    if isinstance(error, FeatherweightError):
        return f"Error: {error}"
    for part in (error, error.__cause__):
        if isinstance(part, ModuleNotFoundError) and (part.name or "").partition(".")[0] in _EXTRA:
            return f"Error: this needs {part.name}: pip install 'featherweight[torch]'"
    return None


def _exit(code: int, message: str, debug: bool) -> typer.Exit:
    if debug:
        traceback.print_exc()
    typer.echo(message, err=True)
    return typer.Exit(code)
