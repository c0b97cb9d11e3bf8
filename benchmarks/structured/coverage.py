"""On how many networks does structured pruning work? Half the channels of one network a family.

    python -m benchmarks.structured.coverage                    # run what is missing, print
    python -m benchmarks.structured.coverage --kinds zoo hf     # of these only
    python -m benchmarks.structured.coverage --table            # print what is there

Each trial (benchmarks/structured/trial.py) has a process and a time limit of its own. Records go to
benchmarks/results/coverage.jsonl, one a trial. timm and transformers come with ``make peers``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.structured.networks import names
from benchmarks.structured.trial import SIDES

RESULTS = Path(__file__).parents[1] / "results" / "coverage.jsonl"
KINDS = ("zoo", "hf", "timm")


def records(path: Path = RESULTS) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the records by side and network; the last of several counts."""
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return {(record["side"], record["network"]): record for record in found}


def trial(side: str, network: str, limit: float) -> dict[str, Any]:
    """Do one trial in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.structured.trial", side, network]
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        found = {"ok": False, "kind": "time", "reason": f"more than {limit:.0f} s"}
    else:
        try:
            found = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, ValueError):
            last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
            found = {"ok": False, "kind": "crash", "reason": f"exit code {done.returncode}: {last[:300]}"}
    return {"side": side, "network": network, "wall": time.perf_counter() - started} | found


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
    parser.add_argument("--limit", type=float, default=100.0, help="seconds a trial")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    args = parser.parse_args()
    if not args.table:
        wanted = args.networks or [name for kind in args.kinds for name in names(kind)]
        done = {} if args.again else records(args.results)
        todo = [(side, name) for name in wanted for side in args.sides if (side, name) not in done]
        for number, (side, name) in enumerate(todo, 1):
            record = trial(side, name, args.limit)
            with args.results.open("a") as file:
                file.write(json.dumps(record) + "\n")
            words = f"ok, {record['params']:.2f}" if record["ok"] else f"{record['kind']}: {record['reason']}"
            print(f"{number}/{len(todo)} {side} {name}: {words} ({record['wall']:.0f} s)", flush=True)
    print(table(records(args.results)))


if __name__ == "__main__":
    main()
