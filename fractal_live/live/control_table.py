"""The table of everything the performer moves.

The only source of OSC addresses, ranges, patch keys, dashboard rows and the README's table. Knows no values; those
are in `live.controls`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fractal_live.live.dressing import MOST_SPLITS
from fractal_live.live.latent_path import WALK_BARS
from fractal_live.music.plan import ATTRIBUTES, PLAN_BARS, Attribute
from fractal_live.music.request import GAIN_AT_REST, LATENT_DIMS
from fractal_live.music.scales import SCALE_NAMES

Kind = Literal["float", "int", "bang", "floats", "slots", "text"]
Group = Literal["param", "choice", "sound", "split", "latent", "plan", "harmony", "action"]
Effect = Literal["next bar", "at once"]
Keep = Literal["newest", "every", "presses"]

HIGHEST_SEED = 2**31 - 1
LOWEST_GIVEN_SEED = 2
"""1 is what a pressed button sends, 0 what it sends when it is let go; seeds begin above."""

SLOTS = 16
LONGEST_GLIDE_BARS = 64
PITCH_CLASSES = 12
CURVE_HALVES = 2 * PLAN_BARS
SCHEDULES = ("constant", "linear")
"""How guidance grows while a piece is opened, by the number that is sent."""

SCHEDULE_HELP = "how the guidance of cfg grows while a bar is opened: 0 not at all, 1 linearly from off to full"
LATENT_HELP = (
    f"the point the plan is imagined from; fewer than {LATENT_DIMS} floats set the first dimensions, more are an "
    "error; raises the gain to 1 as long as none was ever sent, so that a bare vector is heard"
)
GAIN_HELP = (
    "influence of the latent; 0 = none. A latent of zeros is the middle of the training songs and keeps a long set "
    "from drifting"
)
GLIDE_HELP = (
    "a point that is set from now on is reached so many bars after the playing one, bar by bar; 0 = at once. A jump "
    "back of the position ends a glide"
)
WALK_HELP = (
    "slow motion about the point: its standard deviation in every dimension; what it is now and what it is "
    f"{WALK_BARS:g} bars later correlate by 1/e. It follows from seed and bar alone"
)
STORE_HELP = "keeps the point of the playing bar, walk included, in a slot; before the first bar the point that was set"
RECALL_HELP = (
    "glides to the point in a slot, spherically; a second number is the glide in bars instead of the one that was set"
)
BLEND_HELP = "slot, slot, share 0 to 1: glides to the point at that share of the way from the first to the second"
CHROMA_HELP = (
    f"how strongly each pitch class from C up sounds; {PITCH_CLASSES} floats hold it, more ({PITCH_CLASSES} for each "
    f"coming half bar, up to {CURVE_HALVES}) are a curve, none releases it. A bar that a curve reaches in part keeps "
    "the last"
)
GENERATE_HELP = (
    f"a new cycle; a seed from {LOWEST_GIVEN_SEED} up makes it repeatable, none (or 1, a button) draws a fresh one"
)
SWING_HELP = "every second sixteenth later; 1 = the two as a triplet's two thirds and one third"
HUMANIZE_HELP = "a player's unevenness in time and velocity; 1 is much"
RANGE_HELP = "pitch that sounds; what would be outside comes inside by octaves"
KEY_HELP = "what the scale stands on: a name such as C, F# or Eb, or 0 (C) to 11"
SCALE_HELP = f"pitches outside it move to its nearest one: a name, or its place: {', '.join(SCALE_NAMES)}"
CHORD_HELP = (
    "the harmony by name, such as C, Am7 or G7/B: one holds it, several follow each other by half bars, none "
    "releases it"
)
SPLIT_ADDRESS = "/fractal/split/<i>"
FACTOR_HELP = "scales the density of what comes, held or imagined: 2 is twice as much"
FREEZE_HELP = "loops the last so many bars from the next bar line on; 0 lets the music go on"
INFILL_HELP = (
    "from, to: makes these bars of the loop anew while it plays, counted from 1; with no loop, of the last 32 bars"
)
SCORE_HELP = (
    "follows the plan and the harmony of a .mid file beside the patch from the next bar on, to its end; tick 0 of the "
    "file is a bar line"
)
PATCH_HELP = "changes to another patch at the next bar line: the name of a shipped one, or of a file beside it"
SUBSCRIBE_HELP = "sends /fractal/out/... to the sender's address, at this port; none (or 1): the sender's own port"
QUERY_HELP = (
    "tells everything once, at this port; none (or 1): to the sender's port, or to the subscribers at its address"
)


@dataclass(frozen=True, slots=True)
class Control:
    """One row of the table. `low`, `high` and `default` are in `unit`; a default of None means that
    nothing is held. `most_values` is how many numbers one message may carry, in groups of `group_of`.
    `takes_effect` says when the change is heard. Of kind slots the numbers in range come first, and what
    follows them is in the help."""

    name: str
    address: str
    kind: Kind
    group: Group
    low: float
    high: float
    default: float | None
    unit: str
    takes_effect: Effect
    help: str
    most_values: int = 1
    group_of: int = 1


def _param(name: str, kind: Kind, low: float, high: float, default: float, unit: str, text: str) -> Control:
    return Control(name, f"/fractal/param/{name}", kind, "param", low, high, default, unit, "next bar", text)


def _sound(name: str, kind: Kind, low: float, high: float, default: float, unit: str, text: str) -> Control:
    return replace(_param(name, kind, low, high, default, unit, text), group="sound")


def _split(name: str, high: float, default: float, text: str) -> Control:
    kind: Kind = "float" if name == "level" else "int"
    address = f"{SPLIT_ADDRESS}/{name}"
    return Control(f"split_{name}", address, kind, "split", 0, high, default, "", "next bar", text)


def _text(
    name: str, address: str, group: Group, high: float, default: float | None, text: str, most: int = 1
) -> Control:
    return Control(name, f"/fractal/{address}", "text", group, 0, high, default, "name", "next bar", text, most)


def _number(name: str, path: str, low: float, high: float, unit: str, text: str, most: int = 1) -> Control:
    return Control(name, f"/fractal/{path}", "int", "action", low, high, None, unit, "next bar", text, most)


def _latent(name: str, path: str, kind: Kind, low: float, high: float, text: str, most_values: int = 1) -> Control:
    return Control(name, f"/fractal/latent/{path}", kind, "latent", low, high, 0, "", "next bar", text, most_values)


def _slots(name: str, text: str, most_values: int) -> Control:
    address = f"/fractal/latent/{name}"
    return Control(
        f"latent_{name}", address, "slots", "latent", 0, SLOTS - 1, None, "slot", "next bar", text, most_values
    )


def _plan(of: Attribute) -> Control:
    text = f"{of.help}; one float holds it, several are a curve over the coming bars, none releases it"
    address = f"/fractal/plan/{of.name}"
    return Control(
        f"plan_{of.name}", address, "floats", "plan", of.low, of.high, None, of.unit, "next bar", text, PLAN_BARS
    )


def _chroma() -> Control:
    most = PITCH_CLASSES * CURVE_HALVES
    address = "/fractal/harmony/chroma"
    return Control("chroma", address, "floats", "harmony", 0, 1, None, "", "next bar", CHROMA_HELP, most, PITCH_CLASSES)


def _bang(name: str, path: str, takes_effect: Effect, text: str, high: float = 1, unit: str = "") -> Control:
    return Control(name, f"/fractal/{path}", "bang", "action", 0, high, None, unit, takes_effect, text)


def _tempo(text: str) -> Control:
    return Control("tempo", "/fractal/transport/tempo", "float", "action", 20, 400, None, "bpm", "at once", text)


CONTROLS: tuple[Control, ...] = (
    _param("temperature", "float", 0.1, 2, 1, "", "how daring the draw is, at every level"),
    _param("cfg", "float", 0, 5, 1, "", "how strongly plan and harmony are obeyed; 1 = off"),
    _param("top_p", "float", 0.05, 1, 1, "", "draw only from the likeliest choices that sum to this; 1 = off"),
    _param("top_k", "int", 0, 128, 0, "choices", "draw only from this many likeliest choices; 0 = off"),
    _param("mask_k", "int", 0, 16, 0, "choices", "never draw this many likeliest choices; 0 = off"),
    _param("mask_p", "float", 0, 0.95, 0, "", "never draw the likeliest choices that sum to this; 0 = off"),
    _param("echo", "float", -6, 6, 0, "nats", "how much the music repeats itself; 0 = as the model likes it"),
    _param("iterations", "int", 1, 16, 4, "rounds", "rounds the masked levels take to open what is unknown"),
    _param("lead_bars", "int", 1, 8, 2, "bars", "finished bars kept ahead of the playhead"),
    _param("transpose", "int", -24, 24, 0, "semitones", "moves every pitch"),
    _param("velocity", "float", 0.25, 2, 1, "", "scales every velocity"),
    _sound("swing", "float", 0, 1, 0, "", SWING_HELP),
    _sound("humanize", "float", 0, 1, 0, "", HUMANIZE_HELP),
    _sound("gate", "float", 0.1, 2, 1, "", "scales every duration"),
    _sound("low", "int", 0, 127, 0, "MIDI pitch", f"lowest {RANGE_HELP}"),
    _sound("high", "int", 0, 127, 127, "MIDI pitch", f"highest {RANGE_HELP}"),
    replace(_param("cfg_schedule", "int", 0, 1, 0, "", SCHEDULE_HELP), group="choice"),
    _latent("latent", "level0", "floats", -4, 4, LATENT_HELP, LATENT_DIMS),
    _latent("latent_dim", "level0/<i>", "float", -4, 4, f"one dimension of the latent, i = 0 to {LATENT_DIMS - 1}"),
    replace(_latent("latent_gain", "gain", "float", 0, 1, GAIN_HELP), default=GAIN_AT_REST),
    replace(_latent("latent_glide", "glide", "int", 0, LONGEST_GLIDE_BARS, GLIDE_HELP), unit="bars"),
    _latent("latent_walk", "walk", "float", 0, 1, WALK_HELP),
    _slots("store", STORE_HELP, 1),
    _slots("recall", RECALL_HELP, 2),
    _slots("blend", BLEND_HELP, 3),
    *(_plan(attribute) for attribute in ATTRIBUTES),
    replace(_param("density_factor", "float", 0.25, 4, 1, "", FACTOR_HELP), address="/fractal/plan/density_factor"),
    _chroma(),
    _text("chord", "harmony/chord", "harmony", 1, None, CHORD_HELP, CURVE_HALVES),
    _text("key", "harmony/key", "sound", 11, 0, KEY_HELP),
    _text("scale", "harmony/scale", "sound", len(SCALE_NAMES) - 1, 0, SCALE_HELP),
    _split("mute", 1, 0, f"1 silences a split of the patch, i = 1 to {MOST_SPLITS} in its order"),
    _split("solo", 1, 0, "1 silences all splits but those that are soloed"),
    _split("level", 2, 1, "scales the velocities of a split"),
    _bang("generate", "generate", "next bar", GENERATE_HELP, HIGHEST_SEED, "seed"),
    _bang("reroll", "reroll", "next bar", "draws the coming bars again, in the same cycle"),
    _number("freeze", "freeze", 0, PLAN_BARS, "bars", FREEZE_HELP),
    _number("infill", "infill", 1, PLAN_BARS, "bar", INFILL_HELP, 2),
    _text("score", "score", "action", 0, None, SCORE_HELP),
    _bang("panic", "panic", "at once", "closes every note on every channel used"),
    _bang("start", "transport/start", "at once", "plays from bar 0"),
    _bang("stop", "transport/stop", "at once", "stops; nothing sounds on"),
    _bang("continue", "transport/continue", "at once", "plays on from where it stopped"),
    _tempo("own tempo, where no leader gives one"),
    _bang("clock_beat", "clock/beat", "at once", "one beat of an OSC leader"),
    _bang("trigger_bar", "trigger/bar", "at once", "plays one bar"),
    _text("patch", "patch", "action", 0, None, PATCH_HELP),
    _bang("subscribe", "subscribe", "at once", SUBSCRIBE_HELP, 65535, "port"),
    _bang("unsubscribe", "unsubscribe", "at once", "ends that", 65535, "port"),
    _bang("query", "query", "at once", QUERY_HELP, 65535, "port"),
)


def _as_channel(number: int) -> tuple[str, ...]:
    """What becomes of a number in the names of CHOP channels: `level0[0-15]` makes level00 to level015, and of other
    characters than letters, digits, - _ : and / the sender makes _ ."""
    return (str(number), f"_{number}", f":{number}", f"[{number}]", f"_{number}_")


def _kept(control: Control) -> Keep:
    if control.kind == "bang":
        return "presses"
    depends_on_order = control.kind == "slots" or control.name == "latent_glide"
    is_done = control.group == "action" and control.name != "tempo"
    return "every" if depends_on_order or is_done else "newest"


BY_NAME: dict[str, Control] = {control.name: control for control in CONTROLS}
PATCH_KEYS: tuple[str, ...] = tuple(
    control.name
    for control in CONTROLS
    if control.group not in ("plan", "split", "action") and control.kind != "slots" and control.name != "latent_dim"
)
DIMENSION: dict[str, int] = {f"/fractal/latent/level0/{i}": i for i in range(LATENT_DIMS)}
SPLIT: dict[str, tuple[Control, int]] = {
    control.address.replace("<i>", str(i + 1)): (control, i)
    for control in CONTROLS
    if control.group == "split"
    for i in range(MOST_SPLITS)
}
"""Which control of which split an address means; splits are counted from 1 in addresses, from 0 here."""

BY_ADDRESS: dict[str, Control] = {
    **{control.address: control for control in CONTROLS if "<i>" not in control.address},
    **{address: BY_NAME["latent_dim"] for address in DIMENSION},
    **{address: control for address, (control, _) in SPLIT.items()},
}
ALIASES: dict[str, str] = {
    f"/fractal/latent/level0{spelling}": address for address, i in DIMENSION.items() for spelling in _as_channel(i)
}
"""Other spellings of an address."""

KEEP: dict[str, Keep] = {address: _kept(control) for address, control in BY_ADDRESS.items()}
KEEP |= {alias: KEEP[address] for alias, address in ALIASES.items()}
"""What is to be obeyed of a burst of messages: of a value the newest, of a button all but repeated releases, and of
what depends on the values before it, or says what the next ones mean, everything."""


def table_markdown() -> str:
    """The control table as the README shows it."""
    lines = ["| address | what it does | range | default | heard |", "|---|---|---|---|---|"]
    for control in CONTROLS:
        bounds = f"{control.low:g} to {control.high:g} {control.unit}".strip()
        if control.kind == "text":
            bounds = "name" if control.default is None else f"name, or {control.low:g} to {control.high:g}"
        elif control.kind == "bang":
            bounds = f"bang [{control.unit}]" if control.unit else "bang"
        default = "" if control.default is None else f"{control.default:g}"
        lines.append(f"| `{control.address}` | {control.help} | {bounds} | {default} | {control.takes_effect} |")
    return "\n".join(lines) + "\n"
