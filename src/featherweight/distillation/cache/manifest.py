"""The manifest of a cache: JSON with a checksum over itself, read strictly."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featherweight.artifact import replacing
from featherweight.distillation.cache.layout import Layout, Slots, size_of
from featherweight.errors import DataError

FILE = "manifest.json"
KEYS = "keys"
VERSION = 2
WIDTHS = {"fp16": 2, "fp32": 4}  # bytes a number


@dataclass(frozen=True)
class Identity:
    """Whose outputs a cache holds.

    Attributes:
        teacher: its fingerprint; of several teachers, all of theirs.
        taps: what is tapped of it, in words and in order.
        precision: in which it runs: "fp32" or "bf16", whose outputs have three digits.
    """

    teacher: str
    taps: tuple[str, ...] = ()
    precision: str = "fp32"


@dataclass(frozen=True)
class Source:
    """Which data a cache is filled from, as far as going on after an interruption needs it.

    Attributes:
        epochs: passes over the data.
        batches: in each pass.
        batch_size: the largest number of examples in a batch.
    """

    epochs: int
    batches: int
    batch_size: int


@dataclass(frozen=True)
class Manifest:
    """What a cache is, and how far it is.

    Attributes:
        identity: of the teacher.
        layout: the arrays.
        dtype: "fp16" or "fp32".
        source: the data.
        tokens: length of all sequences, where it matters for the outputs' shapes; None where it does not.
        examples: rows in each array.
        batches: that are done, of all passes.
        complete: whether all are.
        checksums: CRC-32 of the rows of each array by name, and of the keys.
    """

    identity: Identity
    layout: Layout
    dtype: str
    source: Source
    tokens: int | None
    examples: int = 0
    batches: int = 0
    complete: bool = False
    checksums: tuple[tuple[str, int], ...] = ()

    def is_of_same_run(self, other: Manifest) -> bool:
        """Whether going on from ``other`` gives what filling anew would give."""
        start = Manifest(self.identity, self.layout, self.dtype, self.source, self.tokens)
        return start == Manifest(other.identity, other.layout, other.dtype, other.source, other.tokens)

    def check_identity(self, identity: Identity, folder: Path) -> None:
        """Raise DataError unless the cache is of ``identity``, or of the same in a higher precision."""
        if self.identity.teacher != identity.teacher:
            what = "of another teacher: its class or its weights are not those of the teacher given"
        elif self.identity.taps != identity.taps:
            what = f"of other outputs: it has {self.identity.taps}, and the losses read {identity.taps}"
        elif (self.identity.precision, identity.precision) == ("bf16", "fp32"):
            what = 'of a teacher that ran in bf16, and it runs in fp32 here (precision="bf16" takes it)'
        else:
            return
        raise refusal(folder, what)

    def write(self, folder: Path) -> None:
        """Write the manifest into ``folder``, whole or not at all."""
        body = {"version": VERSION, **asdict(self)}
        with replacing(folder / FILE, "w") as file:
            json.dump({"checksum": _checksum(body), "manifest": body}, file, indent=1)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest in ``folder``.

        Raises:
            DataError: it is damaged, or of another version.
        """
        body = _read(folder)
        if body.get("version") != VERSION:
            raise refusal(folder, f"of format version {body.get('version')!r}; this release reads {VERSION}")
        try:
            layout = body["layout"]
            return cls(
                identity=Identity(**body["identity"] | {"taps": tuple(body["identity"]["taps"])}),
                layout=Layout(
                    tuple(layout["names"]),
                    tuple(tuple(int(size) for size in shape) for shape in layout["shapes"]),
                    tuple(_slots(view) for view in layout["views"]),
                ),
                dtype=body["dtype"],
                source=Source(**body["source"]),
                tokens=body["tokens"],
                examples=body["examples"],
                batches=body["batches"],
                complete=body["complete"],
                checksums=tuple((name, value) for name, value in body["checksums"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise refusal(folder, f"damaged: its {FILE} lacks entries ({error!r})") from error

    def row_bytes(self, name: str) -> int:
        """Return the bytes of one row of the array ``name``, or of the keys."""
        if name == KEYS:
            return 8
        return size_of(self.layout.shapes[self.layout.names.index(name)]) * WIDTHS[self.dtype]


def refusal(folder: Path, what: str) -> DataError:
    """Return the error that says what is wrong with the cache in ``folder``, and what to do."""
    return DataError(
        f"The cache in {str(folder)!r} is {what.rstrip('.')}. Give another folder; or fill it anew: delete "
        f"it, or pass fill_cache overwrite=True."
    )


def _read(folder: Path) -> dict[str, Any]:
    try:
        table = json.loads((folder / FILE).read_bytes())
        body, checksum = table["manifest"], table["checksum"]
        if not isinstance(body, dict) or _checksum(body) != checksum:
            raise ValueError("its checksum does not match")
    except OSError as error:
        raise DataError(
            f"There is no cache in {str(folder)!r}: {FILE} cannot be read ({error.strerror}). "
            f"Give the folder that a cache was filled into."
        ) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise refusal(folder, f"damaged: its {FILE} is not what was written ({error})") from error
    return body


def _checksum(body: Any) -> int:
    """Return the CRC-32 of ``body`` as JSON in one fixed form."""
    return zlib.crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _slots(view: dict[str, Any]) -> Slots:
    heads = tuple((query, key, value) for query, key, value in view["attention"])
    return Slots(view["logits"], tuple(view["features"]), heads)
