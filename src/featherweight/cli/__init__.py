"""The command line: one file per command. Importing it imports no torch; a command imports what it needs."""

from featherweight.cli._app import app, main

__all__ = ["app", "main"]
