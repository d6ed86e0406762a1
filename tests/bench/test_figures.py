from __future__ import annotations

import os
from pathlib import Path

import pytest

from fractal_live.bench.figures import NOTHING, median_spread, ratio, spread, spread_of
from fractal_live.bench.machine import cpu_pressure, growth_mb_per_hour, parent_of, resident_mb
from fractal_live.live.telemetry import LatenessSummary

MS = 1_000_000


def test_percentiles_are_the_smallest_values_that_so_many_do_not_exceed() -> None:
    assert spread([number * MS for number in range(200, 0, -1)]) == {"p50": 100.0, "p99": 198.0, "max": 200.0}
    assert spread([3 * MS]) == {"p50": 3.0, "p99": 3.0, "max": 3.0}
    assert spread([]) == {"p50": None, "p99": None, "max": None}
    assert spread_of(LatenessSummary(1500, 2 * MS, 10 * MS)) == {"p50": 0.0015, "p99": 2.0, "max": 10.0}


def test_the_median_over_repetitions_is_taken_number_by_number_and_skips_what_is_missing() -> None:
    runs = [
        {"p50": 1.0, "p99": 9.0, "max": 9.0},
        {"p50": 3.0, "p99": 5.0, "max": 50.0},
        {"p50": 2.0, "p99": 7.0, "max": 8.0},
    ]
    assert median_spread(runs) == {"p50": 2.0, "p99": 7.0, "max": 9.0}
    assert median_spread([dict(NOTHING), runs[0]]) == runs[0]
    assert median_spread([]) == NOTHING


def test_a_ratio_needs_both_sides_and_something_to_divide_by() -> None:
    assert ratio(10.0, 4.0) == 2.5
    assert ratio(None, 4.0) is None
    assert ratio(10.0, None) is None
    assert ratio(10.0, 0.0) is None


def test_the_pressure_is_the_kernels_ten_second_average_and_unknown_elsewhere(tmp_path: Path) -> None:
    told = tmp_path / "cpu"
    told.write_text(
        "some avg10=23.63 avg60=64.65 avg300=80.67 total=53\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    assert cpu_pressure(told) == 23.63
    assert cpu_pressure(tmp_path / "nowhere") is None


def test_growth_is_the_slope_after_five_minutes_or_the_first_third_of_a_longer_life() -> None:
    warming = [(float(second), 50.0 + second) for second in range(300)]
    playing = [(float(second), 400.0 + second / 3600) for second in range(300, 900)]
    assert growth_mb_per_hour(warming + playing) == pytest.approx(1.0)
    longer = [(second * 10.0, 400.0 - second) for second in range(100)]
    rest = [(second * 10.0, 300.0 + second / 360) for second in range(100, 300)]
    assert growth_mb_per_hour(longer + rest) == pytest.approx(1.0)


def test_of_a_process_that_lived_for_seven_minutes_at_most_nobody_knows_whether_it_grows() -> None:
    assert growth_mb_per_hour([]) is None
    assert growth_mb_per_hour([(float(second), 50.0) for second in range(419)]) is None
    assert growth_mb_per_hour([(float(second), 50.0) for second in range(422)]) == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell of processes in /proc")
def test_this_process_has_memory_and_a_parent_and_one_that_is_gone_has_neither() -> None:
    mb = resident_mb(os.getpid())
    assert mb is not None and 5 < mb < 5000
    assert parent_of(os.getpid()) == os.getppid()
    assert resident_mb(2**22 + 1) is None
    assert parent_of(2**22 + 1) is None
