"""On how many networks does structured pruning work? Half the channels of one network a family.

    python -m benchmarks.structured.coverage                    # run what is missing, print
    python -m benchmarks.structured.coverage --kinds zoo hf     # of these only
    python -m benchmarks.structured.coverage --table            # print what is there

Each trial (benchmarks/structured/trial.py) has a process of its own, forked from one that has imported the
libraries, and 100 seconds of one processor: not of the clock, on which other programs count too. Records go
to benchmarks/results/coverage.jsonl, one a trial. timm, transformers and Torch-Pruning come with
``make peers``.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import time
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from benchmarks._machine import machine
from benchmarks.structured.networks import names, use_peers
from benchmarks.structured.trial import SIDES, SMALL, attempt, load_and_compare

RESULTS = Path(__file__).parents[1] / "results" / "coverage.jsonl"
KINDS = ("zoo", "hf", "timm")


def records(path: Path = RESULTS) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the records by side and network; the last of several counts."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return {(record["side"], record["network"]): record for record in found}


def trial(side: str, network: str, limit: int) -> dict[str, Any]:
    """Do one trial in a process of its own; what it saved is loaded in another one."""
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        found = in_process(SIDES[side], network, folder, limit)
        if found["ok"] and (Path(folder) / SMALL).exists():
            loaded = in_process(load_and_compare, network, folder, limit)
            if not loaded["ok"]:
                found = loaded | {"reason": f"when it was loaded: {loaded['reason']}"}
    return {"side": side, "network": network, "wall": time.perf_counter() - started} | found


def in_process(what: Any, network: str, folder: str, limit: int) -> dict[str, Any]:
    """Return what ``attempt`` of it finds in a new process."""
    context = get_context("forkserver")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sending, what, network, folder, limit))
    process.start()
    sending.close()
    try:
        found = receiving.recv()
    except EOFError:  # it ended before it sent anything
        process.join()
        found = {"ok": False, "kind": "crash", "reason": f"exit code {process.exitcode}"}
        if process.exitcode == -signal.SIGXCPU:
            found = {"ok": False, "kind": "time", "reason": f"more than {limit} s"}
    process.join()
    return found


def _report(sending: Connection, what: Any, network: str, folder: str, limit: int) -> None:
    """Send what came of an attempt; after ``limit`` seconds of a processor the process is killed."""
    used = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + limit, used + 2 * limit))
    torch.set_num_threads(1)
    sending.send(attempt(what, network, Path(folder)))


def about() -> dict[str, Any]:
    """Return the machine and the versions that a record holds for."""
    packages = ("timm", "transformers", "torch-pruning")
    whole = machine()
    return {name: whole[name] for name in ("cpu", "cores", "torch", "commit")} | {
        name: version(name) for name in packages
    }


def table(found: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Return how many networks of each kind passed, and the reason of each failure, as Markdown."""
    lines = ["| | " + " | ".join(SIDES) + " |", "|---" * (len(SIDES) + 1) + "|"]
    for kind in KINDS:
        cells = []
        for side in SIDES:
            mine = [r for (s, n), r in found.items() if s == side and n.startswith(f"{kind}:")]
            cells.append(f"{sum(r['ok'] for r in mine)} of {len(mine)}" if mine else "not run")
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    for side in SIDES:
        failed = [r for (s, _), r in found.items() if s == side and not r["ok"]]
        lines += ["", f"Failures of {side}:", ""] if failed else []
        lines += [f"- {r['network']}: {r['kind']}: {r['reason']}" for r in failed]
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--sides", nargs="+", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--networks", nargs="+", help="these only, such as timm:convnext_atto")
    parser.add_argument("--again", action="store_true", help="also those that have a record")
    parser.add_argument("--limit", type=int, default=100, help="processor seconds a trial")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    args = parser.parse_args()
    if not args.table:
        wanted = args.networks or [name for kind in args.kinds for name in names(kind)]
        done = {} if args.again else records(args.results)
        todo = [(side, name) for name in wanted for side in args.sides if (side, name) not in done]
        use_peers()
        get_context("forkserver").set_forkserver_preload(["benchmarks.structured._preload"])
        where = about()
        for number, (side, name) in enumerate(todo, 1):
            record = trial(side, name, args.limit) | {"about": where}
            with args.results.open("a") as file:
                file.write(json.dumps(record) + "\n")
            words = f"ok, {record['params']:.2f}" if record["ok"] else f"{record['kind']}: {record['reason']}"
            print(f"{number}/{len(todo)} {side} {name}: {words} ({record['wall']:.0f} s)", flush=True)
    print(table(records(args.results)))


if __name__ == "__main__":
    main()
