"""The defects that an earlier system of this kind had, and for each the tests here that would have caught it.

A defect that somebody has met once is one that we could make again. The table says what each was, in our words, and
names tests; this file sees to it that they exist and are run.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LEAKS, UNFOLD, LAWS = "tests/model/test_leaks.py", "tests/model/test_unfold.py", "tests/model/test_laws.py"
SAMPLING, CACHES, LOSSES = "tests/model/test_sampling.py", "tests/model/test_attention.py", "tests/model/test_losses.py"
CONFIG, SHIPPED, DATASET = "tests/model/test_config.py", "tests/model/test_shipped.py", "tests/train/test_dataset.py"
ROLL, PLAN, MIDI = "tests/music/test_pianoroll.py", "tests/music/test_plan.py", "tests/music/test_midifile.py"

DEFECTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "D1": (
        "the grid of sixteenths was one of quarters: half of the notes were lost, and all came back too fast",
        (
            f"{ROLL}::test_a_file_of_sixteenths_keeps_every_note_at_its_time",
            "tests/music/test_meter.py::test_clocks_and_steps_divide_the_beat",
            f"{MIDI}::test_ticks_of_another_resolution_are_converted",
        ),
    ),
    "D2": (
        "there were no onsets: repeated and overlapping notes melted into one",
        (
            f"{ROLL}::test_a_bar_comes_back_from_its_roll_as_it_was",
            f"{ROLL}::test_a_restruck_pitch_is_two_notes_and_a_long_one_is_one",
            "tests/music/test_notes.py::test_untangling_loses_no_onset_and_makes_none",
        ),
    ),
    "D3": (
        "the position in the bar meant another thing at every level and did not know the meter",
        (
            f"{DATASET}::test_a_bar_begins_at_step_zero_of_its_place_in_every_meter",
            f"{LEAKS}::test_another_meter_is_told_to_masked_tokens",
            f"{UNFOLD}::test_of_a_bar_the_likelihood_while_sampling_is_that_in_training",
        ),
    ),
    "D4": (
        "density was the number of sounding pitches",
        (
            f"{PLAN}::test_density_counts_onsets_not_sounding_pitches",
            f"{LAWS}::test_a_density_is_met_by_the_number_in_every_meter",
        ),
    ),
    "D5": (
        "random crops were a few fixed ones, and two GPUs learned from the same batches",
        (
            f"{DATASET}::test_crops_begin_anywhere_and_reach_the_whole_range_of_transpositions",
            "tests/train/test_distributed.py::test_the_gradients_of_two_ranks_are_those_of_one_with_twice_the_batch",
        ),
    ),
    "D6": (
        "velocities were rounded down, and silent cells were given random ones that were read again",
        (
            f"{CONFIG}::test_every_velocity_comes_back_within_two",
            f"{CONFIG}::test_the_middle_of_a_velocity_bin_lies_in_it",
            f"{DATASET}::test_content_in_order_of_time_shows_every_note_until_it_ends",
            f"{UNFOLD}::test_of_a_piece_in_rounds_the_likelihood_while_sampling_is_that_in_training",
        ),
    ),
    "D7": (
        "masked tokens lost their position, so that nothing known meant the same everywhere",
        (
            f"{LEAKS}::test_what_is_predicted_with_nothing_visible_differs_from_place_to_place",
            f"{LEAKS}::test_rows_of_a_plan_of_which_nothing_is_known_differ_once_anything_before_them_is",
        ),
    ),
    "D8": (
        "predictions had read what they were to predict, through neighbours and an encoder before the mask",
        (
            f"{LEAKS}::test_nothing_sees_the_content_of_a_cell_that_is_not_opened_yet",
            f"{LEAKS}::test_nothing_sees_a_note_of_a_song_before_its_cell_is_opened",
            f"{LEAKS}::test_what_a_half_bar_decides_depends_on_no_decision_of_one_opened_with_it_or_later",
            f"{LEAKS}::test_the_plan_level_does_not_see_the_cells_it_imagines",
            f"{LEAKS}::test_the_leaf_sees_only_the_notes_below",
        ),
    ),
    "D9": (
        "sampling showed the model what training never had: other masks, another shift, another null",
        (
            f"{UNFOLD}::test_of_a_bar_the_likelihood_while_sampling_is_that_in_training",
            f"{UNFOLD}::test_of_a_gap_the_likelihood_while_sampling_is_that_in_training",
            f"{UNFOLD}::test_of_a_piece_in_rounds_the_likelihood_while_sampling_is_that_in_training",
            f"{UNFOLD}::test_without_plan_and_texture_sampling_scores_what_training_scores",
        ),
    ),
    "D10": (
        "the loss rewarded copying what was given, some samples taught nothing, dropout was never active",
        (
            f"{LOSSES}::test_only_cells_of_the_plan_that_are_hidden_cost_anything",
            f"{LOSSES}::test_what_lies_past_the_end_costs_nothing",
            f"{LOSSES}::test_dropout_is_what_the_shape_says_in_training_and_off_otherwise",
            "tests/train/test_schedule.py::test_the_lower_levels_are_ramped_in_on_a_straight_line",
        ),
    ),
    "D11": (
        "relative positions meant another thing at every length, and long pieces crashed",
        (
            f"{CACHES}::test_rotary_attention_depends_on_distances_only",
            f"{CONFIG}::test_a_piece_is_as_long_as_its_plan_whatever_the_crop_was",
        ),
    ),
    "D12": (
        "the pitch LSTM was never built, and the pitches of a chord knew nothing of one another",
        (
            f"{LEAKS}::test_the_leaf_sees_only_the_notes_below",
            f"{LOSSES}::test_every_parameter_is_taught_by_something",
            f"{CACHES}::test_a_leaf_that_remembers_is_the_one_that_reads_the_chord_anew",
        ),
    ),
    "D13": (
        "the grid of neighbours was guessed from the length and wrong for wide rolls",
        (
            f"{LEAKS}::test_the_scan_takes_all_bands_of_a_step_or_all_steps_of_a_band_first",
            f"{CONFIG}::test_every_width_of_crop_has_its_levels",
        ),
    ),
    "D14": (
        "with the cache every step saw the first key alone",
        (
            f"{CACHES}::test_a_sequential_level_opened_place_by_place_is_the_one_that_has_all_at_once",
            f"{CACHES}::test_a_masked_level_asked_and_closed_place_by_place_is_the_one_that_has_all_at_once",
            f"{CACHES}::test_a_leaf_that_remembers_is_the_one_that_reads_the_chord_anew",
        ),
    ),
    "D15": (
        "some versions could not train at all, others only on CUDA",
        (
            "tests/train/test_loop.py::test_training_lowers_every_loss_on_what_it_sees",
            f"{LOSSES}::test_every_parameter_is_taught_by_something",
        ),
    ),
    "D16": (
        "guidance crashed or did nothing, and nobody measured whether a wish was obeyed",
        (
            f"{SAMPLING}::test_a_level_that_takes_no_part_in_guidance_is_the_unguided_one",
            f"{SAMPLING}::test_guidance_grows_with_what_is_made_and_each_level_takes_its_part",
            f"{SHIPPED}::test_guidance_makes_the_wish_stricter",
            f"{SHIPPED}::test_a_given_harmony_is_heard",
        ),
    ),
    "D17": (
        "temperature did nothing, and what was drawn again was chosen blindly",
        (
            f"{SAMPLING}::test_temperature_moves_every_level",
            f"{SHIPPED}::test_more_temperature_is_more_surprise",
            f"{LAWS}::test_what_is_drawn_again_is_what_the_model_was_least_sure_of",
        ),
    ),
    "D18": (
        "infill lost what was known, or made that again and kept the rest",
        (
            f"{LAWS}::test_an_infill_hands_back_what_is_known_itself",
            f"{LAWS}::test_an_infill_of_some_pitches_keeps_all_others_bit_for_bit",
            f"{SHIPPED}::test_an_infill_uses_what_stands_on_both_sides",
        ),
    ),
    "D19": (
        "the tempo of a piece was written by one program, forgotten by another and could be negative",
        (
            f"{LAWS}::test_a_bar_carries_the_tempo_of_its_plan",
            f"{MIDI}::test_a_score_comes_back_from_its_file_as_it_was",
            "tests/live/test_recorder.py::test_tempo_changes_stand_at_their_ticks_and_the_last_of_one_tick_counts",
        ),
    ),
    "D20": (
        "the latent was stored and never read",
        (
            f"{LAWS}::test_a_latent_of_gain_zero_changes_nothing_and_of_gain_one_changes_the_plan",
            f"{LAWS}::test_every_dimension_of_the_latent_reaches_the_sketch_and_the_plan",
            f"{SHIPPED}::test_the_readable_dimensions_of_the_latent_move_what_they_are_called",
        ),
    ),
    "D21": (
        "the mixture of generators that was recommended crashed",
        (
            f"{LAWS}::test_a_density_is_met_by_the_number_in_every_meter",
            f"{CONFIG}::test_every_shipped_shape_can_be_built_and_makes_a_bar",
        ),
    ),
    "D22": (
        "what was sent out grew with the piece, coarse times were not scaled and probabilities stood for velocities; "
        "of streaming pictures there is no counterpart here, of notes and of messages sent out there is",
        (
            "tests/ports/test_osc_out.py::test_what_goes_out_comes_in_the_same",
            "tests/test_stage.py::test_what_stop_closes_is_said_to_end_at_stop",
            f"{LAWS}::test_notes_lie_in_the_models_range_on_the_grid_and_in_the_bar",
        ),
    ),
}


@lru_cache
def marks_of_tests(path: Path) -> dict[str, list[str]]:
    """The tests of a file by their names, each with the marks on it and on its whole file, as they are written; a mark
    that the file gives a name to is looked up."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = {
        target.id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return {
        node.name: [
            named.get("pytestmark", ""),
            *(named.get(text, text) for text in map(ast.unparse, node.decorator_list)),
        ]
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_defect_has_its_line() -> None:
    assert list(DEFECTS) == [f"D{number}" for number in range(1, 23)]
    assert all(what and tests for what, tests in DEFECTS.values())


@pytest.mark.parametrize("name", DEFECTS)
def test_the_tests_against_a_defect_exist_and_are_run(name: str) -> None:
    for test in DEFECTS[name][1]:
        file, _, function = test.partition("::")
        path = ROOT / file
        assert path.is_file(), f"{name}: {file} is not there"
        assert function in marks_of_tests(path), f"{name}: {test} is not there"
        for mark in marks_of_tests(path)[function]:
            # `mark.skip` is `mark.skipif` too: a test against a known defect depends on no machine.
            assert "mark.skip" not in mark and "mark.xfail" not in mark, f"{name}: {test} is not always run"


def test_a_mark_that_leaves_a_test_out_is_found_wherever_it_stands(tmp_path: Path) -> None:
    ways = (
        "@pytest.mark.skip\ndef test_it(): ...",
        "@pytest.mark.skipif(True, reason='')\ndef test_it(): ...",
        "needs = pytest.mark.skipif(True, reason='')\n@needs\ndef test_it(): ...",
        "pytestmark = [pytest.mark.slow, pytest.mark.skip]\ndef test_it(): ...",
    )
    for number, text in enumerate(ways):
        file = tmp_path / f"test_{number}.py"
        file.write_text(text, encoding="utf-8")
        assert "mark.skip" in " ".join(marks_of_tests(file)["test_it"]), text
