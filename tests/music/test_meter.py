import pytest

from fractal_live.music.meter import CLOCKS_PER_BEAT, PPQN, TICKS_PER_CLOCK, TICKS_PER_STEP, Meter, step_at

METERS = {
    Meter(4, 4): (16, 1920),
    Meter(3, 4): (12, 1440),
    Meter(6, 8): (12, 1440),
    Meter(7, 8): (14, 1680),
    Meter(5, 16): (5, 600),
    Meter(2, 2): (16, 1920),
    Meter(4, 1): (64, 7680),
}


@pytest.mark.parametrize(("meter", "lengths"), METERS.items(), ids=str)
def test_a_bar_has_the_length_its_meter_says(meter: Meter, lengths: tuple[int, int]) -> None:
    assert (meter.steps_per_bar, meter.ticks_per_bar) == lengths


@pytest.mark.parametrize("meter", METERS, ids=str)
def test_every_tick_lies_in_the_bar_that_begins_before_it(meter: Meter) -> None:
    for tick in range(-2 * meter.ticks_per_bar, 2 * meter.ticks_per_bar, 7):
        bar_index, inside = meter.bar_at(tick)
        assert meter.tick_of_bar(bar_index) + inside == tick
        assert 0 <= inside < meter.ticks_per_bar


def test_clocks_and_steps_divide_the_beat() -> None:
    assert (CLOCKS_PER_BEAT * TICKS_PER_CLOCK, 4 * TICKS_PER_STEP) == (PPQN, PPQN)


def test_the_nearest_step_is_found_and_half_way_rounds_up() -> None:
    ticks = [-61, -60, -1, 0, 59, 60, 119, 120, 179, 180]
    assert [step_at(tick) for tick in ticks] == [-1, 0, 0, 0, 0, 1, 1, 1, 1, 2]


def test_a_meter_that_is_no_whole_number_of_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="denominator is 32; allowed: 1, 2, 4, 8, 16"):
        Meter(4, 32)
    with pytest.raises(ValueError, match="denominator is 3;"):
        Meter(4, 3)


@pytest.mark.parametrize("numerator", [-4, 0, 65])
def test_a_bar_of_no_step_or_of_too_many_is_refused(numerator: int) -> None:
    with pytest.raises(ValueError, match="allowed: 1 to 64"):
        Meter(numerator, 16)


def test_a_meter_is_written_as_musicians_write_it() -> None:
    assert str(Meter(6, 8)) == "6/8"
