"""What went wrong, told to the performer: shown, logged and sent out, each kind at most once a second."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator

from fractal_live.ports.osc_out import OscOut, Peer
from fractal_live.status import Status

log = logging.getLogger(__name__)

AGAIN_S = 1.0
MAX_KINDS = 256


class Reporter:
    """For the event loop. `clock` is in seconds. `kept_back` are those that came too soon after one of their kind."""

    def __init__(self, status: Status, osc_out: OscOut, clock: Callable[[], float] = time.monotonic) -> None:
        self.kept_back = 0
        self._status = status
        self._osc_out = osc_out
        self._clock = clock
        self._told_s: dict[str, float] = {}
        self._unsaid: Counter[str] = Counter()

    def tell(self, text: str, kind: str = "", mistaken: Peer | None = None) -> None:
        """`kind`: what else counts as the same; none: only the same text. `mistaken` is the sender whose message is
        answered by this: it goes to that sender where it subscribed, else to everybody."""
        kind = kind or text
        now_s = self._clock()
        if kind in self._told_s and now_s - self._told_s[kind] < AGAIN_S:
            self.kept_back += 1
            self._unsaid[kind] += 1
            return
        if len(self._told_s) >= MAX_KINDS:
            self._told_s.clear()
            self._unsaid.clear()
        self._told_s[kind] = now_s
        unsaid = self._unsaid.pop(kind, 0)
        if unsaid and kind != text:
            text = f"{text} (and {unsaid} more like it)"
        self._status.errors.append(text)
        log.warning("%s", text)
        receivers = self._osc_out.subscribed_by(mistaken) if mistaken is not None else ()
        self._osc_out.send("/fractal/out/error", text, to=receivers or None)

    def refused(self, kind: str, text: str, peer: Peer | None) -> None:
        """Something came in that is no OSC, or that we failed to obey."""
        self.tell(f"OSC: {text}", f"OSC {kind}", peer)

    def trouble(self, text: str, is_fatal: bool) -> None:
        """What a child says went wrong. Before it is ready it will leave, and this is the reason given then."""
        if is_fatal:
            self._status.errors.append(text)
        else:
            self.tell(text)

    @contextlib.contextmanager
    def carrying_on(self, what: str) -> Iterator[None]:
        """A mistake of ours in one turn of a task is shown and logged; the show goes on with the next turn."""
        try:
            yield
        except Exception as error:
            log.exception("%s failed", what)
            self.tell(f"{what} failed: {type(error).__name__}: {error}")
