from __future__ import annotations

import pytest

from fractal_live.bench.account import Account
from fractal_live.bench.faults import FAULTS, schedule
from fractal_live.bench.performer import PATCH, Performer
from fractal_live.bench.rehearsal import Glimpse
from fractal_live.bench.witness import SilentBar, Witness
from fractal_live.live.controls import Controls
from fractal_live.live.telemetry import Telemetry
from fractal_live.ports.pipes import StageHealth

S = 1_000_000_000
WANTED, UNWANTED = [12.0] * 32, [0.4] * 32


def strike(witness: Witness, at_ns: int, pitch: int = 60) -> None:
    witness.note(0, pitch, True, at_ns)
    witness.note(0, pitch, False, at_ns + 1)


def health(sent: int, late_ns: int = 0) -> StageHealth:
    telemetry = Telemetry()
    telemetry.sent(0, late_ns, sent)
    return StageHealth(0, 0, 0, 0, 0, sent, 0, tuple(telemetry.bins), telemetry.worst_ns)


def glimpse(health: StageHealth, stage_restarts: int = 0, model_restarts: int = 0, underruns: int = 0) -> Glimpse:
    return Glimpse(True, True, 2, 3, model_restarts, stage_restarts, health, "normal", "port", (), underruns)


def test_a_bar_is_silent_if_its_plan_wanted_notes_and_none_began() -> None:
    witness = Witness()
    for index, (density, has_notes) in enumerate([(WANTED, True), (WANTED, False), (UNWANTED, False), (WANTED, True)]):
        witness.bar_began(index, index * 2 * S)
        witness.planned(density)
        if has_notes:
            strike(witness, index * 2 * S + S)
    witness.bar_began(4, 8 * S)
    assert (witness.bars, witness.silent) == (4, [SilentBar(1, 12.0, 4 * S)])


@pytest.mark.parametrize("early_ns", [1000, 23_300_000, 46_500_000])
def test_a_note_on_the_bar_line_belongs_to_the_bar_that_is_told_a_jack_period_later(early_ns: int) -> None:
    witness = Witness()
    witness.bar_began(0, 0)
    witness.planned(WANTED)
    strike(witness, 2 * S - early_ns)
    witness.bar_began(1, 2 * S)
    witness.planned(WANTED)
    witness.bar_began(2, 4 * S)
    assert witness.silent == []


def test_the_last_sixteenth_of_a_bar_is_not_taken_for_the_next_one() -> None:
    witness = Witness()
    witness.bar_began(0, 0)
    strike(witness, 1_500_000_000)  # at 150 bpm
    witness.bar_began(1, 1_600_000_000)
    witness.planned(WANTED)
    witness.bar_began(2, 3_200_000_000)
    assert witness.silent == [SilentBar(1, 12.0, 3_200_000_000)]


def test_bars_that_never_began_are_silent_bars_and_a_bar_told_twice_is_one() -> None:
    witness = Witness()
    witness.bar_began(0, 0)
    witness.planned([12.0, 12.0, 0.0, 12.0])
    strike(witness, S)
    witness.bar_began(0, S)
    witness.bar_began(4, 8 * S)
    assert witness.bars == 4
    assert witness.silent == [SilentBar(1, 12.0, 8 * S), SilentBar(3, 12.0, 8 * S)]
    assert witness.unheard == {1, 2, 3}


def test_a_jump_back_to_the_top_is_no_gap() -> None:
    witness = Witness()
    witness.bar_began(40, 0)
    witness.planned(WANTED)
    strike(witness, 1)
    witness.bar_began(0, 2 * S)
    assert (witness.bars, witness.silent) == (1, [])


def test_a_note_is_open_until_its_own_note_off() -> None:
    witness = Witness()
    witness.note(0, 60, True, 0)
    witness.note(1, 60, True, 0)
    witness.note(0, 61, True, 0)
    witness.note(0, 61, True, 1)
    assert witness.open_notes == 3
    witness.note(0, 60, False, 2)
    witness.note(0, 61, False, 2)
    assert (witness.open_notes, witness.struck) == (1, 4)


def test_the_lives_of_killed_stages_add_up() -> None:
    account = Account()
    account.glimpsed(glimpse(health(100, 1000)), 0.0)
    account.glimpsed(glimpse(health(500, 9000), underruns=1), 10.0)
    account.had_accident("stage", 20.0)
    account.glimpsed(glimpse(health(520, 9000), 1, underruns=1), 20.5)  # the dead one's last word comes after its end
    account.glimpsed(glimpse(health(0), 1, underruns=1), 21.0)
    account.glimpsed(glimpse(health(40, 5000), 1, underruns=3), 22.0)
    account.glimpsed(glimpse(health(90, 5000), 1, underruns=4), 60.0)
    figures = account.figures(Witness(), None)
    assert figures["sent"] == 610
    assert figures["fallbacks"] == 4
    assert figures["fallbacks_after_accidents"] == 2
    assert figures["send_ms"]["max"] == 0.009
    assert figures["crashes"] == 0


def test_a_silent_bar_is_told_with_what_was_wanted_and_the_last_accident_before_its_end() -> None:
    account, witness = Account(), Witness()
    for at_s, fault in [(1.0, "model"), (4.5, "stage"), (9.0, "clock")]:
        account.had_accident(fault, at_s)
    for index in range(4):
        witness.bar_began(index, index * 2 * S)
        witness.planned(WANTED)
        if index != 2:
            strike(witness, index * 2 * S + S)
    silence = {"bar": 2, "wanted": 12.0, "accident": "stage", "seconds_before_its_end": 1.5}
    assert account.figures(witness, None)["silent"] == [silence]


def test_ends_that_nobody_brought_about_are_crashes() -> None:
    account = Account()
    assert account.crashes == 1, "nothing was ever heard of it"
    account.glimpsed(glimpse(health(1), stage_restarts=2, model_restarts=3), 0.0)
    account.had_accident("model", 0.0)
    account.had_accident("hang", 0.0)
    assert account.crashes == 2 + 1
    account.is_whole = False
    assert account.crashes == 4


def test_memory_is_weighed_in_the_stage_that_lived_longest() -> None:
    account = Account()
    account.glimpsed(glimpse(health(10)), 0.0)
    for second in range(440):
        account.weighed(float(second), 60.0, 30.0 + 9 * second)
    account.glimpsed(glimpse(health(0), 1), 440.0)
    for second in range(440, 1440):
        account.weighed(float(second), 60.0, 30.0 + second / 3600)
    figures = account.figures(Witness(), None)
    assert figures["rss_growth_of"] == {"daemon": 0.0, "stage": pytest.approx(1.0)}
    assert figures["rss_growth_mb_per_hour"] == pytest.approx(1.0)


def test_accidents_are_spread_over_the_set_and_each_kind_happens() -> None:
    assert schedule(FAULTS, 12.0, 60.0) == [
        (2.0, "model"),
        (4.0, "stage"),
        (6.0, "hang"),
        (8.0, "clock"),
        (10.0, "port"),
    ]
    assert [fault for _, fault in schedule(("model", "stage"), 300.0, 60.0)] == ["model", "stage"] * 2 + ["model"]
    assert schedule((), 300.0, 60.0) == []


def test_whatever_the_performer_does_the_instrument_understands() -> None:
    performer, controls = Performer(5, ("hymn", "swarm")), Controls()
    gestures = [performer.gesture() for _ in range(2000)]
    outcomes = [
        controls.apply(address, values, number)
        for number, (address, values) in enumerate(gestures)
        if address != PATCH  # which are checked where they are read
    ]
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    assert {address for address, _ in gestures} >= {
        "/fractal/plan/density",
        "/fractal/latent/level0",
        "/fractal/generate",
        PATCH,
    }
    assert not {address for address, _ in gestures} & {"/fractal/split/1/mute", "/fractal/split/1/solo"}
    assert gestures[:50] == [another.gesture() for another in [Performer(5, ("hymn", "swarm"))] for _ in range(50)]
