"""All judges behind one call: which there are, how much they hear unless told otherwise, and what they need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fractal_live.music.request import Generator
from fractal_live.train.corpus import Song
from fractal_live.train.judges.anchors import Anchors
from fractal_live.train.judges.infill import PIECE_BARS, infill
from fractal_live.train.judges.latent import imagined, latent
from fractal_live.train.judges.live import live
from fractal_live.train.judges.memory import memory
from fractal_live.train.judges.plan import plan, plays
from fractal_live.train.judges.quality import quality
from fractal_live.train.judges.report import Report
from fractal_live.train.judges.trial import JudgeError, Trial


@dataclass(frozen=True, slots=True)
class Case:
    """How many pieces of how many bars a judge hears unless told otherwise, and whether it needs songs beside them."""

    pieces: int
    bars: int
    needs_songs: bool = False


CASES: dict[str, Case] = {
    "quality": Case(80, 32),
    "plan": Case(24, 32, needs_songs=True),
    "latent": Case(64, 32),
    "infill": Case(80, PIECE_BARS, needs_songs=True),
    "memory": Case(80, 32),
    "live": Case(4, 300),
}


def judge(name: str, generator: Generator, trial: Trial, anchors: Anchors | None, songs: Sequence[Song]) -> Report:
    """The report of one judge. `songs` are held-out ones, for the judges that need them; `anchors` for the others.
    Raises JudgeError, saying what is missing."""
    if name not in CASES:
        raise JudgeError(f"there is no judge {name!r}; there are: {', '.join(CASES)}")
    if name in ("plan", "infill"):
        if not songs:
            raise JudgeError(f"evaluate {name} compares with real songs bar by bar; give them: --data DIR")
        return plan(generator, songs, trial) if name == "plan" else infill(generator, songs, trial)
    if anchors is None:
        raise JudgeError(f"evaluate {name} compares with anchors of real songs; give --anchors FILE or --data DIR")
    heard = {"quality": quality, "memory": memory, "live": live, "latent": latent}
    return heard[name](generator, anchors, trial)


def pieces_heard(name: str, pieces: int) -> int:
    """How often `Trial.on_piece` is called when so many pieces are judged."""
    return {"plan": plays, "latent": imagined}.get(name, int)(pieces)
