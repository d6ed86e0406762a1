"""Where every bar of a set came from, as the recording holds it: what the model was asked for, which bars stood in
its past, how the bar was dressed and what of it sounded.

Each entry is a few dozen bytes. Of a request only what differs from the one before is kept: cells of the plan that an
earlier bar had imagined already come with that bar again when it is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fractal_live.live.dressing import Dress, Outfit, Split
from fractal_live.music.meter import Meter
from fractal_live.music.notes import Bar, Note
from fractal_live.music.plan import PlanTable, unknown_plan
from fractal_live.music.request import BarRequest, Sampling

FORMAT = 1
MAGIC = b"\x7dfractal-live\0"
"""Sequencer-specific events begin with a manufacturer's number; 7D is for what no manufacturer made."""

NOT_HEARD = -1

Runs = tuple[tuple[int, int], ...]
"""Bars by number, oldest first: (first, how many)."""


class ProvenanceError(ValueError):
    """An entry that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The first entry: what was played by which program. `meter` is (numerator, denominator)."""

    format: int
    program: str
    title: str
    checkpoint: str
    sync: str
    meter: tuple[int, int]
    seed: int


@dataclass(frozen=True, slots=True)
class ModelBegan:
    """From here on the bars come from this model, on this device, with so many threads of this torch."""

    checkpoint_id: str
    device: str
    threads: int
    torch: str


@dataclass(frozen=True, slots=True)
class Made:
    """Bar `number` was asked of the model: `request` without its past, whose bars are the numbers in `past`.
    `digest` is that of the answer."""

    number: int
    request: BarRequest
    past: Runs
    digest: str


@dataclass(frozen=True, slots=True)
class Mended:
    """Gaps of a loop were filled: `bars` are the loop's, by number and in order, `missing` the places of those that
    were made anew; the first of these has the `number`, the others the next. `digests` are those of the answer."""

    number: int
    bars: Runs
    missing: tuple[int, ...]
    sampling: Sampling
    seed: int
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Moved:
    """Bar `number` is the bar `source` once more, as bar `index`: it goes round in a loop."""

    number: int
    index: int
    source: int


@dataclass(frozen=True, slots=True)
class Worn:
    """A way of dressing, by a number of its own."""

    number: int
    dress: Dress
    outfit: Outfit


@dataclass(frozen=True, slots=True)
class Varied:
    """Bar `number` is a fallback: `live.fallback` makes it for bar `index` from the bar `source`, with so many
    onsets."""

    number: int
    index: int
    source: int
    onsets: int


@dataclass(frozen=True, slots=True)
class Given:
    """Bar `number` as it was, note by note: nobody knows any more where it came from."""

    number: int
    bar: Bar


@dataclass(frozen=True, slots=True)
class Began:
    """The bar `number` began to sound at the bar line `line_tick` of the recording, dressed as `worn` says (a number;
    None: as it was made); `notes` are what sounded where no dressing makes it of the bar. `is_fallback`: another bar
    was late."""

    number: int
    line_tick: int
    worn: int | None = None
    notes: tuple[Note, ...] | None = None
    is_fallback: bool = False


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Of the `begun`-th bar that began (from 0) not all was heard: (place, ticks it lasted) of each note that ended
    early, NOT_HEARD for one that never began. `others` were heard though no bar has them: (tick of the
    recording, channel, pitch, velocity, ticks it lasted)."""

    begun: int
    notes: tuple[tuple[int, int], ...]
    others: tuple[tuple[int, int, int, int, int], ...] = ()


Entry = Opening | ModelBegan | Made | Mended | Moved | Varied | Given | Worn | Began | Interrupted


def digest_of(bar: Bar) -> str:
    """Eight bytes that tell two answers of the model apart, whatever of them differs."""
    plan = np.asarray(bar.plan, dtype=np.float64).tobytes()
    chroma = np.asarray(bar.chroma, dtype=np.float64).tobytes()
    notes = repr([astuple(note) for note in bar.notes]).encode()
    return hashlib.blake2b(b"|".join((notes, plan, chroma)), digest_size=8).hexdigest()


def runs_of(numbers: Iterable[int]) -> Runs:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return tuple(runs)


def numbers_of(runs: Runs) -> list[int]:
    return [first + place for first, count in runs for place in range(count)]


@dataclass(slots=True)
class Chain:
    """What a request is compared with, the one before it and its answer's plan; the same in writing and in reading."""

    request: BarRequest = field(default_factory=lambda: BarRequest(0, asked=unknown_plan()))
    plan: PlanTable = field(default_factory=unknown_plan)

    def answered(self, request: BarRequest, plan: PlanTable) -> None:
        self.request, self.plan = replace(request, past=()), plan

    def packed(self, made: Made) -> bytes:
        """`made` as the recording holds it."""
        request, before = made.request, self.request
        shift = request.index - before.index
        asked = request.plan if request.asked is None else request.asked
        before_asked = before.plan if before.asked is None else before.asked
        head: dict[str, Any] = {
            "n": made.number,
            "i": request.index,
            "past": made.past,
            "seed": request.seed,
            "gain": request.latent_gain,
            "meter": astuple(request.meter),
            "draw": _unusual(request.sampling, Sampling()),
            "digest": made.digest,
        }
        if request.asked is None:
            head["all"] = 1
        data = _difference(request.plan, _slid(self.plan, shift)) + _difference(asked, _slid(before_asked, shift))
        if request.latent != before.latent:
            head["latent"] = len(request.latent)
            data += np.asarray(request.latent, dtype="<f8").tobytes()
        if request.chroma is not None:
            chroma = np.asarray(request.chroma, dtype="<f4")
            is_same = before.chroma is not None and np.array_equal(chroma, before.chroma)
            head["chroma"] = 0 if is_same else len(chroma)
            data += b"" if is_same else chroma.tobytes()
        return _packed("made", head, data)

    def made(self, head: dict[str, Any], data: bytes) -> Made:
        """The reverse: needs the plan that came with the answer to the request before."""
        before, rest = self.request, memoryview(data)
        shift = head["i"] - before.index
        before_asked = before.plan if before.asked is None else before.asked
        plan, rest = _applied(rest, _slid(self.plan, shift))
        asked, rest = _applied(rest, _slid(before_asked, shift))
        latent, chroma = before.latent, before.chroma
        if "latent" in head:
            size = 8 * head["latent"]
            latent, rest = tuple(np.frombuffer(rest[:size], dtype="<f8").tolist()), rest[size:]
        if "chroma" not in head:
            chroma = None
        elif head["chroma"]:
            chroma = np.frombuffer(rest, dtype="<f4").reshape(head["chroma"], 12).astype(np.float32)
        request = BarRequest(
            head["i"],
            (),
            plan,
            chroma,
            latent,
            head["gain"],
            Meter(*head["meter"]),
            Sampling(**_tuples(head["draw"])),
            head["seed"],
            asked=None if "all" in head else asked,
        )
        return Made(head["n"], request, _pairs(head["past"]), head["digest"])


def packed(
    entry: Opening | ModelBegan | Mended | Moved | Varied | Given | Worn | Began | Interrupted,
) -> bytes:
    """An entry as the recording holds it; `Chain.packed` is for requests."""
    if isinstance(entry, Given):
        bar = entry.bar
        notes = [astuple(note) for note in bar.notes]
        head = {"n": entry.number, "i": bar.index, "notes": notes, "meter": astuple(bar.meter), "bpm": bar.tempo_bpm}
        return _packed("given", head | {"plan": bar.plan, "chroma": bar.chroma, "seed": bar.seed})
    if isinstance(entry, Began):
        head = {"n": entry.number, "line": entry.line_tick}
        if entry.worn is not None:
            head["worn"] = entry.worn
        if entry.is_fallback:
            head["late"] = 1
        if entry.notes is not None:
            head["notes"] = [astuple(note) for note in entry.notes]
        return _packed("began", head)
    if isinstance(entry, Mended):
        return _packed("mended", asdict(entry) | {"sampling": _unusual(entry.sampling, Sampling())})
    if isinstance(entry, Worn):
        dress = _unusual(entry.dress, Dress())
        dress |= {name: sorted(dress[name]) for name in ("muted", "soloed") if name in dress}
        return _packed("worn", {"n": entry.number, "dress": dress, "outfit": _unusual(entry.outfit, Outfit())})
    kinds = {Opening: "opening", ModelBegan: "model", Moved: "moved", Varied: "varied", Interrupted: "cut"}
    return _packed(kinds[type(entry)], asdict(entry))


def unpacked(data: bytes) -> tuple[str, dict[str, Any], bytes]:
    """Kind, head and arrays of an entry. Raises ProvenanceError."""
    try:
        text, _, arrays = zlib.decompress(data.removeprefix(MAGIC)).partition(b"\0")
        head: dict[str, Any] = json.loads(text)
        return str(head.pop("kind")), head, arrays
    except (zlib.error, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ProvenanceError(f"an entry of the recording is damaged ({error})") from error


def entry_of(kind: str, head: dict[str, Any]) -> Entry:
    """An entry that is no request. Raises ProvenanceError."""
    try:
        if kind == "opening":
            return Opening(**{**head, "meter": tuple(head["meter"])})
        if kind == "model":
            return ModelBegan(**head)
        if kind == "moved":
            return Moved(**head)
        if kind == "varied":
            return Varied(**head)
        if kind == "mended":
            sampling, digests = Sampling(**_tuples(head["sampling"])), tuple(head["digests"])
            bars, missing = _pairs(head["bars"]), tuple(head["missing"])
            return Mended(head["number"], bars, missing, sampling, head["seed"], digests)
        if kind == "worn":
            return Worn(head["n"], _dress(head["dress"]), _outfit(head["outfit"]))
        if kind == "cut":
            return Interrupted(head["begun"], _pairs(head["notes"]), tuple(tuple(note) for note in head["others"]))
        if kind == "began":
            notes = _notes(head["notes"]) if "notes" in head else None
            return Began(head["n"], head["line"], head.get("worn"), notes, "late" in head)
        if kind == "given":
            chroma = tuple(tuple(half) for half in head["chroma"])
            notes, meter, plan = _notes(head["notes"]), Meter(*head["meter"]), tuple(head["plan"])
            return Given(head["n"], Bar(head["i"], notes, meter, head["bpm"], plan, chroma, head["seed"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ProvenanceError(f"an entry {kind!r} of the recording is damaged ({error})") from error
    raise ProvenanceError(f"the recording has an entry {kind!r}, which this version does not know")


def _packed(kind: str, head: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps({"kind": kind, **head}, separators=(",", ":")).encode()
    entry: bytes = MAGIC + zlib.compress(text + b"\0" + data, 9)
    return entry


def _unusual(value: Sampling | Dress | Outfit, usual: Sampling | Dress | Outfit) -> dict[str, Any]:
    """The fields that are not as usual; 1 is not 1.0."""
    fields, others = asdict(value), asdict(usual)
    return {name: field for name, field in fields.items() if repr(field) != repr(others[name])}


def _tuples(head: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in head.items()}


def _dress(head: dict[str, Any]) -> Dress:
    fields = _tuples(head)
    return Dress(**fields | {name: frozenset(fields[name]) for name in ("muted", "soloed") if name in fields})


def _outfit(head: dict[str, Any]) -> Outfit:
    return Outfit(**{**head, "splits": tuple(Split(**split) for split in head.get("splits", ()))})


def _pairs(lists: Sequence[Sequence[int]]) -> Runs:
    return tuple((first, second) for first, second in lists)


def _notes(rows: Sequence[Sequence[int]]) -> tuple[Note, ...]:
    return tuple(Note(*row) for row in rows)


def _slid(table: PlanTable, bars: int) -> PlanTable:
    """The table so many bars later: what was row 1 is row 0; unknown where nothing is known."""
    slid = np.full_like(table, np.nan)
    if 0 <= bars < len(table):
        slid[: len(table) - bars] = table[bars:]
    return slid


def _difference(table: PlanTable, base: PlanTable) -> bytes:
    """Which cells of a table are others than the base's, bit by bit, and those cells."""
    bits = np.ascontiguousarray(table, dtype="<f4").view("<u4")
    is_other = bits != np.ascontiguousarray(base, dtype="<f4").view("<u4")
    marks, cells = np.packbits(is_other).tobytes(), bits[is_other].tobytes()
    return bytes(marks + cells)


def _applied(data: memoryview, base: PlanTable) -> tuple[PlanTable, memoryview]:
    """The reverse of `_difference`, and what comes after it."""
    size = -(-base.size // 8)
    is_other = np.unpackbits(np.frombuffer(data[:size], dtype=np.uint8), count=base.size).astype(bool)
    end = size + 4 * int(is_other.sum())
    table: npt.NDArray[np.float32] = np.array(base, dtype=np.float32)
    table[is_other.reshape(table.shape)] = np.frombuffer(data[size:end], dtype="<f4")
    return table, data[end:]
