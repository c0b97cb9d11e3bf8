#!/usr/bin/env bash
# Write constraints.txt anew: the newest of everything that pyproject.toml allows, but for PyTorch, whose pin stays
# (another release would bring its CUDA build). Run the tests before you commit what this writes.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
pip=("$work/venv/bin/python" -m pip)
torch=$(grep '^torch==' constraints.txt)

"${pip[@]}" install --quiet "$torch"
echo "$torch" > "$work/torch.txt"
"${pip[@]}" install --quiet '.[torch,dev]' -c "$work/torch.txt"
{
  head -n 1 constraints.txt
  "${pip[@]}" freeze --exclude featherweight | sed 's/+cpu$//'
} > "$work/constraints.txt"
mv "$work/constraints.txt" constraints.txt
