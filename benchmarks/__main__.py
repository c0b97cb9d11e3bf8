"""Run benchmarks: `python -m benchmarks` the quick ones, with names those named; `--list` lists them.

A benchmark is a module of this folder with a `main()` behind `if __name__ == "__main__"`. What follows `--`
on the command line goes to each.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
QUICK = ("compact_file", "prune_cost")  # minutes on two cores, all together


def main(arguments: list[str]) -> int:
    """Run what ``arguments`` name, one after the other; return 1 if any failed."""
    ours, theirs = partition(arguments)
    known = benchmarks()
    if "--list" in ours:
        for name, summary in known.items():
            print(f"{name:<24} {'quick' if name in QUICK else '':<6} {summary}")
        return 0
    if unknown := [name for name in ours if name not in known]:
        print(f"No benchmark is called {', '.join(unknown)}. There are: {', '.join(known)}.", file=sys.stderr)
        return 2
    failed = [name for name in ours or QUICK if not ran(name, theirs)]
    if failed:
        print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def partition(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split at the first ``--`` into what is for this command and what is for the benchmarks."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def benchmarks() -> dict[str, str]:
    """Return the benchmarks, by dotted name below this folder, with the first line of each docstring."""
    found = {}
    for path in sorted(FOLDER.rglob("*.py")):
        text = path.read_text()
        if path.name.startswith("_") or "__main__" not in text:
            continue
        name = ".".join(path.relative_to(FOLDER).with_suffix("").parts)
        found[name] = (ast.get_docstring(ast.parse(text)) or "").split("\n", maxsplit=1)[0]
    return found


def ran(name: str, arguments: list[str]) -> bool:
    """Run one benchmark in a process of its own; return whether it ended well."""
    print(f"== {name}", flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    return subprocess.run(command, cwd=FOLDER.parent, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
