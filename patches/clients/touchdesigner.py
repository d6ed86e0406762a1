"""Builds the instrument's control room inside TouchDesigner: faders, triggers, a table of notes, the folded roll.

How: put this text into a Text DAT (or File In) and choose Run Script. It makes a Base COMP called `fractal_live`
beside the DAT:

  custom parameters  a fader for every number, a pulse for every button, a field for every name or
                     row of numbers (with | between: Am7|D7, or 1|4); a plan fader is only
                     sent while its Hold toggle is on, and let go when that goes off
  faders             Script CHOP: a channel per fader, named by its OSC address
  osc_out            OSC Out CHOP to the instrument; it sends what has changed
  osc_send           OSC Out DAT for buttons, names and subscriptions
  osc_in             OSC In CHOP: plan, beat, state as channels
  osc_words          OSC In DAT: notes, errors
  notes              Table DAT: the last notes, newest below
  roll               Script TOP: 32 bars as a 256 x 256 picture, the second 16 bars below the first

It was written against the documented Python API and has not been run by its makers, who had no TouchDesigner; the
test suite compiles it and compares its table with the instrument's. CONTROLS is generated: `fractal-live controls
--touchdesigner` prints it.
"""

import json

HOST, PORT = "127.0.0.1", 5005
CHOP_PORT, DAT_PORT = 7001, 7002

CONTROLS = json.loads(r"""
[
{"name": "temperature", "address": "/fractal/param/temperature", "kind": "float", "group": "param", "low": 0.1, "high": 2, "default": 1, "help": "how daring the draw is, at every level"},
{"name": "cfg", "address": "/fractal/param/cfg", "kind": "float", "group": "param", "low": 0, "high": 5, "default": 1, "help": "how strongly plan and harmony are obeyed; 1 = off"},
{"name": "top_p", "address": "/fractal/param/top_p", "kind": "float", "group": "param", "low": 0.05, "high": 1, "default": 1, "help": "draw only from the likeliest choices that sum to this; 1 = off"},
{"name": "top_k", "address": "/fractal/param/top_k", "kind": "int", "group": "param", "low": 0, "high": 128, "default": 0, "help": "draw only from this many likeliest choices; 0 = off"},
{"name": "mask_k", "address": "/fractal/param/mask_k", "kind": "int", "group": "param", "low": 0, "high": 16, "default": 0, "help": "never draw this many likeliest choices; 0 = off"},
{"name": "mask_p", "address": "/fractal/param/mask_p", "kind": "float", "group": "param", "low": 0, "high": 0.95, "default": 0, "help": "never draw the likeliest choices that sum to this; 0 = off"},
{"name": "echo", "address": "/fractal/param/echo", "kind": "float", "group": "param", "low": -6, "high": 6, "default": 0, "help": "how much the music repeats itself; 0 = as the model likes it"},
{"name": "iterations", "address": "/fractal/param/iterations", "kind": "int", "group": "param", "low": 1, "high": 16, "default": 4, "help": "rounds the masked levels take to open what is unknown"},
{"name": "lead_bars", "address": "/fractal/param/lead_bars", "kind": "int", "group": "param", "low": 1, "high": 8, "default": 2, "help": "finished bars kept ahead of the playhead"},
{"name": "transpose", "address": "/fractal/param/transpose", "kind": "int", "group": "param", "low": -24, "high": 24, "default": 0, "help": "moves every pitch"},
{"name": "velocity", "address": "/fractal/param/velocity", "kind": "float", "group": "param", "low": 0.25, "high": 2, "default": 1, "help": "scales every velocity"},
{"name": "swing", "address": "/fractal/param/swing", "kind": "float", "group": "sound", "low": 0, "high": 1, "default": 0, "help": "every second sixteenth later; 1 = the two as a triplet's two thirds and one third"},
{"name": "humanize", "address": "/fractal/param/humanize", "kind": "float", "group": "sound", "low": 0, "high": 1, "default": 0, "help": "a player's unevenness in time and velocity; 1 is much"},
{"name": "gate", "address": "/fractal/param/gate", "kind": "float", "group": "sound", "low": 0.1, "high": 2, "default": 1, "help": "scales every duration"},
{"name": "low", "address": "/fractal/param/low", "kind": "int", "group": "sound", "low": 0, "high": 127, "default": 0, "help": "lowest pitch that sounds; what would be outside comes inside by octaves"},
{"name": "high", "address": "/fractal/param/high", "kind": "int", "group": "sound", "low": 0, "high": 127, "default": 127, "help": "highest pitch that sounds; what would be outside comes inside by octaves"},
{"name": "cfg_schedule", "address": "/fractal/param/cfg_schedule", "kind": "int", "group": "choice", "low": 0, "high": 1, "default": 0, "help": "how the guidance of cfg grows while a bar is opened: 0 not at all, 1 linearly from off to full"},
{"name": "latent", "address": "/fractal/latent/level0", "kind": "floats", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "the point the plan is imagined from; fewer than 16 floats set the first dimensions, more are an error; raises the gain to 1 as long as none was ever sent, so that a bare vector is heard"},
{"name": "latent_gain", "address": "/fractal/latent/gain", "kind": "float", "group": "latent", "low": 0, "high": 1, "default": 0.3, "help": "influence of the latent; 0 = none. A latent of zeros is the middle of the training songs and keeps a long set from drifting"},
{"name": "latent_glide", "address": "/fractal/latent/glide", "kind": "int", "group": "latent", "low": 0, "high": 64, "default": 0, "help": "a point that is set from now on is reached so many bars after the playing one, bar by bar; 0 = at once. A jump back of the position ends a glide"},
{"name": "latent_walk", "address": "/fractal/latent/walk", "kind": "float", "group": "latent", "low": 0, "high": 1, "default": 0, "help": "slow motion about the point: its standard deviation in every dimension; what it is now and what it is 8 bars later correlate by 1/e. It follows from seed and bar alone"},
{"name": "latent_store", "address": "/fractal/latent/store", "kind": "slots", "group": "latent", "low": 0, "high": 15, "default": null, "help": "keeps the point of the playing bar, walk included, in a slot; before the first bar the point that was set"},
{"name": "latent_recall", "address": "/fractal/latent/recall", "kind": "slots", "group": "latent", "low": 0, "high": 15, "default": null, "help": "glides to the point in a slot, spherically; a second number is the glide in bars instead of the one that was set"},
{"name": "latent_blend", "address": "/fractal/latent/blend", "kind": "slots", "group": "latent", "low": 0, "high": 15, "default": null, "help": "slot, slot, share 0 to 1: glides to the point at that share of the way from the first to the second"},
{"name": "plan_density", "address": "/fractal/plan/density", "kind": "floats", "group": "plan", "low": 0, "high": 47, "default": null, "help": "how many notes begin in a bar; one float holds it, several are a curve over the coming bars, none releases it"},
{"name": "plan_tempo", "address": "/fractal/plan/tempo", "kind": "floats", "group": "plan", "low": 40, "high": 200, "default": null, "help": "beats per minute; one float holds it, several are a curve over the coming bars, none releases it"},
{"name": "plan_polyphony", "address": "/fractal/plan/polyphony", "kind": "floats", "group": "plan", "low": 0, "high": 10, "default": null, "help": "mean number of pitches sounding at once; one float holds it, several are a curve over the coming bars, none releases it"},
{"name": "plan_duration", "address": "/fractal/plan/duration", "kind": "floats", "group": "plan", "low": 0, "high": 16, "default": null, "help": "mean length of a note; one float holds it, several are a curve over the coming bars, none releases it"},
{"name": "plan_register", "address": "/fractal/plan/register", "kind": "floats", "group": "plan", "low": 36, "high": 96, "default": null, "help": "mean pitch; one float holds it, several are a curve over the coming bars, none releases it"},
{"name": "plan_loudness", "address": "/fractal/plan/loudness", "kind": "floats", "group": "plan", "low": 1, "high": 127, "default": null, "help": "mean velocity; one float holds it, several are a curve over the coming bars, none releases it"},
{"name": "density_factor", "address": "/fractal/plan/density_factor", "kind": "float", "group": "param", "low": 0.25, "high": 4, "default": 1, "help": "scales the density of what comes, held or imagined: 2 is twice as much"},
{"name": "chroma", "address": "/fractal/harmony/chroma", "kind": "floats", "group": "harmony", "low": 0, "high": 1, "default": null, "help": "how strongly each pitch class from C up sounds; 12 floats hold it, more (12 for each coming half bar, up to 64) are a curve, none releases it. A bar that a curve reaches in part keeps the last"},
{"name": "chord", "address": "/fractal/harmony/chord", "kind": "text", "group": "harmony", "low": 0, "high": 1, "default": null, "help": "the harmony by name, such as C, Am7 or G7/B: one holds it, several follow each other by half bars, none releases it"},
{"name": "key", "address": "/fractal/harmony/key", "kind": "text", "group": "sound", "low": 0, "high": 11, "default": 0, "help": "what the scale stands on: a name such as C, F# or Eb, or 0 (C) to 11"},
{"name": "scale", "address": "/fractal/harmony/scale", "kind": "text", "group": "sound", "low": 0, "high": 14, "default": 0, "help": "pitches outside it move to its nearest one: a name, or its place: chromatic, major, minor, harmonic minor, melodic minor, dorian, phrygian, lydian, mixolydian, locrian, major pentatonic, minor pentatonic, blues, whole tone, octatonic"},
{"name": "generate", "address": "/fractal/generate", "kind": "bang", "group": "action", "low": 0, "high": 2147483647, "default": null, "help": "a new cycle; a seed from 2 up makes it repeatable, none (or 1, a button) draws a fresh one"},
{"name": "reroll", "address": "/fractal/reroll", "kind": "bang", "group": "action", "low": 0, "high": 1, "default": null, "help": "draws the coming bars again, in the same cycle"},
{"name": "freeze", "address": "/fractal/freeze", "kind": "int", "group": "action", "low": 0, "high": 32, "default": null, "help": "loops the last so many bars from the next bar line on; 0 lets the music go on"},
{"name": "infill", "address": "/fractal/infill", "kind": "int", "group": "action", "low": 1, "high": 32, "default": null, "help": "from, to: makes these bars of the loop anew while it plays, counted from 1; with no loop, of the last 32 bars"},
{"name": "score", "address": "/fractal/score", "kind": "text", "group": "action", "low": 0, "high": 0, "default": null, "help": "follows the plan and the harmony of a .mid file beside the patch from the next bar on, to its end; tick 0 of the file is a bar line"},
{"name": "panic", "address": "/fractal/panic", "kind": "bang", "group": "action", "low": 0, "high": 1, "default": null, "help": "closes every note on every channel used"},
{"name": "start", "address": "/fractal/transport/start", "kind": "bang", "group": "action", "low": 0, "high": 1, "default": null, "help": "plays from bar 0"},
{"name": "stop", "address": "/fractal/transport/stop", "kind": "bang", "group": "action", "low": 0, "high": 1, "default": null, "help": "stops; nothing sounds on"},
{"name": "continue", "address": "/fractal/transport/continue", "kind": "bang", "group": "action", "low": 0, "high": 1, "default": null, "help": "plays on from where it stopped"},
{"name": "tempo", "address": "/fractal/transport/tempo", "kind": "float", "group": "action", "low": 20, "high": 400, "default": null, "help": "own tempo, where no leader gives one"},
{"name": "clock_beat", "address": "/fractal/clock/beat", "kind": "bang", "group": "action", "low": 0, "high": 1, "default": null, "help": "one beat of an OSC leader"},
{"name": "trigger_bar", "address": "/fractal/trigger/bar", "kind": "bang", "group": "action", "low": 0, "high": 1, "default": null, "help": "plays one bar"},
{"name": "patch", "address": "/fractal/patch", "kind": "text", "group": "action", "low": 0, "high": 0, "default": null, "help": "changes to another patch at the next bar line: the name of a shipped one, or of a file beside it"},
{"name": "subscribe", "address": "/fractal/subscribe", "kind": "bang", "group": "action", "low": 0, "high": 65535, "default": null, "help": "sends /fractal/out/... to the sender's address, at this port; none (or 1): the sender's own port"},
{"name": "unsubscribe", "address": "/fractal/unsubscribe", "kind": "bang", "group": "action", "low": 0, "high": 65535, "default": null, "help": "ends that"},
{"name": "query", "address": "/fractal/query", "kind": "bang", "group": "action", "low": 0, "high": 65535, "default": null, "help": "tells everything once, at this port; none (or 1): to the sender's port, or to the subscribers at its address"},
{"name": "split_mute_1", "address": "/fractal/split/1/mute", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences a split of the patch, i = 1 to 8 in its order"},
{"name": "split_mute_2", "address": "/fractal/split/2/mute", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences a split of the patch, i = 1 to 8 in its order"},
{"name": "split_mute_3", "address": "/fractal/split/3/mute", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences a split of the patch, i = 1 to 8 in its order"},
{"name": "split_mute_4", "address": "/fractal/split/4/mute", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences a split of the patch, i = 1 to 8 in its order"},
{"name": "split_mute_5", "address": "/fractal/split/5/mute", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences a split of the patch, i = 1 to 8 in its order"},
{"name": "split_mute_6", "address": "/fractal/split/6/mute", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences a split of the patch, i = 1 to 8 in its order"},
{"name": "split_mute_7", "address": "/fractal/split/7/mute", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences a split of the patch, i = 1 to 8 in its order"},
{"name": "split_mute_8", "address": "/fractal/split/8/mute", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences a split of the patch, i = 1 to 8 in its order"},
{"name": "split_solo_1", "address": "/fractal/split/1/solo", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences all splits but those that are soloed"},
{"name": "split_solo_2", "address": "/fractal/split/2/solo", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences all splits but those that are soloed"},
{"name": "split_solo_3", "address": "/fractal/split/3/solo", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences all splits but those that are soloed"},
{"name": "split_solo_4", "address": "/fractal/split/4/solo", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences all splits but those that are soloed"},
{"name": "split_solo_5", "address": "/fractal/split/5/solo", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences all splits but those that are soloed"},
{"name": "split_solo_6", "address": "/fractal/split/6/solo", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences all splits but those that are soloed"},
{"name": "split_solo_7", "address": "/fractal/split/7/solo", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences all splits but those that are soloed"},
{"name": "split_solo_8", "address": "/fractal/split/8/solo", "kind": "int", "group": "split", "low": 0, "high": 1, "default": 0, "help": "1 silences all splits but those that are soloed"},
{"name": "split_level_1", "address": "/fractal/split/1/level", "kind": "float", "group": "split", "low": 0, "high": 2, "default": 1, "help": "scales the velocities of a split"},
{"name": "split_level_2", "address": "/fractal/split/2/level", "kind": "float", "group": "split", "low": 0, "high": 2, "default": 1, "help": "scales the velocities of a split"},
{"name": "split_level_3", "address": "/fractal/split/3/level", "kind": "float", "group": "split", "low": 0, "high": 2, "default": 1, "help": "scales the velocities of a split"},
{"name": "split_level_4", "address": "/fractal/split/4/level", "kind": "float", "group": "split", "low": 0, "high": 2, "default": 1, "help": "scales the velocities of a split"},
{"name": "split_level_5", "address": "/fractal/split/5/level", "kind": "float", "group": "split", "low": 0, "high": 2, "default": 1, "help": "scales the velocities of a split"},
{"name": "split_level_6", "address": "/fractal/split/6/level", "kind": "float", "group": "split", "low": 0, "high": 2, "default": 1, "help": "scales the velocities of a split"},
{"name": "split_level_7", "address": "/fractal/split/7/level", "kind": "float", "group": "split", "low": 0, "high": 2, "default": 1, "help": "scales the velocities of a split"},
{"name": "split_level_8", "address": "/fractal/split/8/level", "kind": "float", "group": "split", "low": 0, "high": 2, "default": 1, "help": "scales the velocities of a split"},
{"name": "latent_0", "address": "/fractal/latent/level0/0", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_1", "address": "/fractal/latent/level0/1", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_2", "address": "/fractal/latent/level0/2", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_3", "address": "/fractal/latent/level0/3", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_4", "address": "/fractal/latent/level0/4", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_5", "address": "/fractal/latent/level0/5", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_6", "address": "/fractal/latent/level0/6", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_7", "address": "/fractal/latent/level0/7", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_8", "address": "/fractal/latent/level0/8", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_9", "address": "/fractal/latent/level0/9", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_10", "address": "/fractal/latent/level0/10", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_11", "address": "/fractal/latent/level0/11", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_12", "address": "/fractal/latent/level0/12", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_13", "address": "/fractal/latent/level0/13", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_14", "address": "/fractal/latent/level0/14", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"},
{"name": "latent_15", "address": "/fractal/latent/level0/15", "kind": "float", "group": "latent", "low": -4, "high": 4, "default": 0, "help": "one dimension of the latent, i = 0 to 15"}
]
""")

FADERS = """
def onCook(scriptOp):
    scriptOp.clear()
    room = parent()
    for address, name, hold in room.fetch("faders"):
        if hold is None or getattr(room.par, hold).eval():
            channel = scriptOp.appendChan(address)
            channel[0] = getattr(room.par, name).eval()
"""

PRESSES = """
def onPulse(par):
    room = parent()
    address = room.fetch("pulses").get(par.name)
    if address:
        op("osc_send").sendOSC(address, [1])


def onValueChange(par, prev):
    room = parent()
    if par.name in room.fetch("holds") and not par.eval():
        op("osc_send").sendOSC(room.fetch("holds")[par.name], [])  # without a value: let go
    elif par.name in room.fetch("names") and par.eval():
        op("osc_send").sendOSC(room.fetch("names")[par.name], [number_or_name(part) for part in par.eval().split("|")])


def number_or_name(text):
    try:
        return float(text)
    except ValueError:
        return text
"""

WORDS = """
def onReceiveOSC(dat, rowIndex, message, bytes, timeStamp, address, args, peer):
    room = parent()
    if address == "/fractal/out/beat":
        bar, beat, phase = args[:3]
        room.store("step", int(bar * 16 + (beat + phase) * 4) % 512)
    elif address == "/fractal/out/note" and args[1] > 0:
        step = room.fetch("step", 0)
        table = op("notes")
        table.appendRow([step, *args])
        while table.numRows > 200:
            table.deleteRow(1)
        roll = room.fetch("cells")
        ahead = (step + 16) % 512
        roll[:, min(step, ahead):max(step, ahead)] *= 0.98
        roll[int(args[0]) % 128, step] = args[1] / 127
        op("roll").cook(force=True)
    elif address == "/fractal/out/error":
        debug("fractal-live: " + str(args[0]))
"""

ROLL = """
import numpy as np


def onCook(scriptOp):
    roll = parent().fetch("cells")
    folded = np.concatenate([roll[:, 256:], roll[:, :256]])  # the first row of the array is the lowest of the picture
    scriptOp.copyNumpyArray(np.stack([folded, folded, folded, np.ones_like(folded)], axis=-1))
"""


def parameter_name(name):
    """TouchDesigner wants one capital, then small letters and digits."""
    return name.replace("_", "").capitalize()


def add_parameters(room):
    """A page per group; what was added: faders (address, parameter, hold), pulses, holds, names."""
    pages, faders, pulses, holds, names = {}, [], {}, {}, {}
    for row in CONTROLS:
        group, own = row["group"], parameter_name(row["name"])
        if group not in pages:
            pages[group] = room.appendCustomPage(group.capitalize())
        page = pages[group]
        if row["kind"] == "bang":
            page.appendPulse(own, label=row["name"])
            pulses[own] = row["address"]
        elif row["kind"] in ("text", "slots") or row["name"] in ("latent", "chroma", "infill"):
            page.appendStr(own, label=row["name"])
            names[own] = row["address"]
        else:
            fader = page.appendFloat(own, label=row["name"])[0]
            fader.min = fader.normMin = row["low"]
            fader.max = fader.normMax = row["high"]
            fader.clampMin = fader.clampMax = True
            fader.default = fader.val = row["low"] if row["default"] is None else row["default"]
            hold = None
            if row["group"] == "plan":
                hold = own + "hold"
                page.appendToggle(hold, label="hold " + row["name"])
                holds[hold] = row["address"]
            faders.append((row["address"].lstrip("/"), own, hold))
    return faders, pulses, holds, names


def build(place):
    import numpy as np

    old = place.op("fractal_live")
    if old is not None:
        old.destroy()
    room = place.create(baseCOMP, "fractal_live")
    faders, pulses, holds, names = add_parameters(room)
    room.store("faders", faders)
    room.store("pulses", pulses)
    room.store("holds", holds)
    room.store("names", names)
    room.store("cells", np.zeros((128, 512), dtype=np.float32))

    texts = {}
    for name, text in (("faders_text", FADERS), ("words_text", WORDS), ("roll_text", ROLL)):
        texts[name] = room.create(textDAT, name)
        texts[name].text = text
    presses = room.create(parameterexecuteDAT, "presses")
    presses.text = PRESSES
    presses.par.op, presses.par.pars = room, "*"
    presses.par.custom, presses.par.builtin = True, False
    presses.par.valuechange, presses.par.onpulse = True, True

    channels = room.create(scriptCHOP, "faders")
    channels.par.callbacks = texts["faders_text"]
    out = room.create(oscoutCHOP, "osc_out")
    out.par.netaddress, out.par.port = HOST, PORT
    out.inputConnectors[0].connect(channels)
    send = room.create(oscoutDAT, "osc_send")
    send.par.netaddress, send.par.port = HOST, PORT
    heard = room.create(oscinCHOP, "osc_in")
    heard.par.port = CHOP_PORT
    words = room.create(oscinDAT, "osc_words")
    words.par.port, words.par.callbacks = DAT_PORT, texts["words_text"]
    notes = room.create(tableDAT, "notes")
    notes.clear()
    notes.appendRow(["step", "pitch", "velocity", "duration", "channel"])
    roll = room.create(scriptTOP, "roll")
    roll.par.callbacks = texts["roll_text"]
    for port in (CHOP_PORT, DAT_PORT):
        send.sendOSC("/fractal/subscribe", [port])
    return room


if __name__ == "__main__":
    build(me.parent())
