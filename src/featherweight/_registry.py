"""One generic, typed registry: a name, a thing, and an error that helps."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from featherweight.errors import SettingError, UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to things of one kind.

    >>> shapes: Registry[type] = Registry("shape")
    >>> @shapes.register("square")
    ... class Square: ...
    >>> shapes["square"] is Square
    True
    """

    def __init__(self, kind: str) -> None:
        """Make an empty registry; ``kind`` is the word used in errors ("criterion")."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files its argument under ``name``; a second use of a name is an error."""

        def file(thing: T) -> T:
            if name in self._entries:
                raise SettingError(f"{self.kind} {name!r} is registered already, by {self._entries[name]!r}.")
            self._entries[name] = thing
            return thing

        return file

    def __getitem__(self, name: str) -> T:
        """Return the entry called ``name``; raises UnknownNameError with the choices."""
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            near = difflib.get_close_matches(str(name), self._entries, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            choices = ", ".join(sorted(self._entries))
            raise UnknownNameError(
                f"No {self.kind} is called {name!r}.{hint} There are: {choices}."
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
