"""The whole instrument in a Link session with another program."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import mido
import pytest

from tests.instrument import free_udp_port

pytestmark = [pytest.mark.ports, pytest.mark.slow, pytest.mark.timeout(120)]
ROOT = Path(__file__).parent.parent.parent
MEET_S = 60.0
TEMPO_BPM = 220.0
OLDER_S = 1.0
"""Of two sessions that meet the older one stands, if it is so by half a second; else it is a toss-up."""


async def until(claim: Any, limit_s: float) -> bool:
    for _ in range(round(limit_s / 0.05)):
        if claim():
            return True
        await asyncio.sleep(0.05)
    return False


@pytest.mark.parametrize("starts", ["with the session", "by itself"])
def test_it_plays_in_the_sessions_tempo_and_begins_as_it_was_told(tmp_path: Path, starts: str) -> None:
    aalink = pytest.importorskip("aalink", reason="the extra link is not installed")
    patch = tmp_path / "own.toml"
    patch.write_text(f"link_start_stop = {str(starts == 'with the session').lower()}", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    options = f"--sync link --patch {patch} --bars 2 --midi-api none --no-dashboard --seed 3 --record set.mid"
    command = [sys.executable, "-m", "fractal_live.cli", "run", *options.split()]
    command += ["--osc-port", str(free_udp_port())]

    async def evening() -> None:
        peer = aalink.Link(TEMPO_BPM)
        peer.start_stop_sync_enabled = True
        peer.enabled = True
        await asyncio.sleep(OLDER_S)
        run = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=environment)
        try:
            if not await until(lambda: peer.num_peers > 0, MEET_S):
                pytest.skip("two Link peers do not find each other here: no multicast on this machine")
            if starts == "with the session":
                peer.playing = True
            assert await asyncio.wait_for(run.wait(), 60) == 0
            assert peer.tempo == pytest.approx(TEMPO_BPM)
        finally:
            peer.enabled = False
            if run.returncode is None:
                run.kill()
                await run.wait()

    asyncio.run(evening())
    recorded = mido.MidiFile(tmp_path / "set.mid")
    tempos = [message.tempo for track in recorded.tracks for message in track if message.type == "set_tempo"]
    assert mido.tempo2bpm(tempos[-1]) == pytest.approx(TEMPO_BPM, abs=0.5)
    assert any(message.type == "note_on" for track in recorded.tracks for message in track)
