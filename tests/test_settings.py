from pathlib import Path

import pytest

from fractal_live.live.controls import BY_NAME, PATCH_KEYS, Controls
from fractal_live.live.midi_map import TARGETS, Place
from fractal_live.music.meter import Meter
from fractal_live.music.plan import ATTRIBUTES
from fractal_live.settings import Machine, Patch, RunSettings, read_machine, read_patch
from fractal_live.shipped_files import find_shipped, shipped_folder, shipped_names
from fractal_live.toml_values import SettingsError


def written(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_patch_and_an_empty_machine_file_have_the_defaults(tmp_path: Path) -> None:
    assert read_patch(written(tmp_path, "")) == Patch()
    assert read_machine(written(tmp_path, "")) == Machine()


def test_a_full_patch_is_read_as_it_is_written(tmp_path: Path) -> None:
    text = """
        title = "Études"
        checkpoint = "weights.safetensors"
        sync = "internal"
        send_clock = true
        link_start_stop = false
        tempo_bpm = 96
        meter = "7/8"
        channel = 16
        follow = "harmony"
        respond = 2
        listen_channel = 3
        osc_out = ["127.0.0.1:7000", "localhost:7001"]
        [controls]
        temperature = 0.8
        top_k = 12
        latent = [1, -1.5]
        chroma = [1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]
        [plan]
        density = 8
        register = [50, 60.5]
        [cc]
        74 = "temperature"
        "2:20" = "split_level/2"
        [cc14]
        1 = "latent/3"
        [notes]
        "10:36" = "trigger_bar"
        [programs]
        1 = "nocturne"
    """
    assert read_patch(written(tmp_path, text)) == Patch(
        title="Études",
        checkpoint="weights.safetensors",
        sync="internal",
        send_clock=True,
        link_start_stop=False,
        tempo_bpm=96.0,
        meter=Meter(7, 8),
        channel=15,
        osc_out=(("127.0.0.1", 7000), ("localhost", 7001)),
        controls={
            "temperature": 0.8,
            "top_k": 12,
            "latent": (1.0, -1.5),
            "chroma": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0),
        },
        plan={"density": 8.0, "register": (50.0, 60.5)},
        cc={Place(None, 74): TARGETS["temperature"], Place(1, 20): TARGETS["split_level/2"]},
        cc14={Place(None, 1): TARGETS["latent/3"]},
        notes={Place(9, 36): TARGETS["trigger_bar"]},
        programs={0: "nocturne"},
        follow="harmony",
        respond=2,
        listen_channel=3,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("titel = 'x'", "unknown key 'titel'; did you mean 'title'?; allowed: cc, cc14, channel, checkpoint"),
        ("title = 3", "title: is 3; allowed: a text in quotes"),
        ("title = ' '", "title: is ' '; allowed: a text in quotes"),
        ("sync = 'medi'", "sync: is 'medi'; did you mean 'midi'?; allowed: midi, internal, osc, link"),
        ("sync = [1]", "sync: is [1]; allowed: midi, internal, osc, link"),
        ("send_clock = 1", "send_clock: is 1; allowed: true, false"),
        ("tempo_bpm = nan", "tempo_bpm: is nan; allowed: a number from 20 to 400"),
        ("tempo_bpm = true", "tempo_bpm: is True; allowed: a number from 20 to 400"),
        ("tempo_bpm = '96'", "tempo_bpm: is '96'; allowed: a number from 20 to 400"),
        ("meter = '4/5'", "meter: is '4/5' (meter denominator is 5"),
        ("meter = 'four'", "meter: is 'four'"),
        ("meter = 4", "meter: is 4; allowed: a text in quotes"),
        ("channel = 0", "channel: is 0; allowed: a whole number from 1 to 16"),
        ("osc_out = '127.0.0.1:7000'", "osc_out: is '127.0.0.1:7000'; allowed: a list"),
        ("osc_out = ['7000']", "osc_out: has '7000'; allowed: address and port"),
        ("controls = 3", "controls: is 3; allowed: a table"),
        ("controls.temprature = 1", "controls.temprature: unknown key; did you mean 'temperature'?; allowed:"),
        ("controls.temperature = 9", "controls.temperature: is 9; allowed: a number from 0.1 to 2"),
        ("controls.temperature = [1]", "controls.temperature: is [1]; allowed: a number from 0.1 to 2"),
        ("controls.top_k = 1.5", "controls.top_k: is 1.5; allowed: a whole number from 0 to 128"),
        ("controls.latent = []", "controls.latent: has 0 numbers; allowed: 1 to 16"),
        ("controls.latent = [1, inf]", "controls.latent: is inf; allowed: a number from -4 to 4"),
        ("controls.chroma = 1", "controls.chroma: is 1; allowed: a list of 12 numbers"),
        ("controls.chroma = [1, 0]", "controls.chroma: has 2 numbers; allowed: 12 to 768 in groups of 12"),
        ("controls.latent_recall = 1", "controls.latent_recall: unknown key"),
        ("controls.latent_glide = 65", "controls.latent_glide: is 65; allowed: a whole number from 0 to 64"),
        ("plan.loudness = 0", "plan.loudness: is 0; allowed: a number from 1 to 127"),
        ("plan.volume = 0", "plan.volume: unknown key"),
        ("cc.120 = 'temperature'", 'cc.120: allowed: a number from 0 to 119, or "channel:number" with a channel'),
        ("cc.'17:1' = 'temperature'", "cc.17:1: allowed: a number from 0 to 119"),
        ("cc.'1:' = 'temperature'", "cc.1:: allowed: a number"),
        ("cc.1 = 'temprature'", "cc.1: is 'temprature'; did you mean 'temperature'?; allowed: temperature, cfg, "),
        ("cc.1 = 'latent/16'", "latent/0 to latent/15"),
        ("cc.1 = 'chord'", "cc.1: is 'chord'"),
        ("cc.1 = 3", "cc.1: is 3; allowed: temperature"),
        ("cc = 3", "cc: is 3; allowed: a table"),
        ("cc.'01' = 'cfg'\ncc.1 = 'cfg'", "cc.1: is there twice, as 1"),
        ("cc14.32 = 'cfg'", "cc14.32: allowed: a number from 0 to 31"),
        ("cc14.1 = 'panic'", "cc14.1: is 'panic'"),
        ("cc14.'2:1' = 'cfg'\ncc.'2:33' = 'top_p'", "cc.2:33: is a half of cc14.2:1; allowed: in one of the two"),
        ("notes.36 = 'temperature'", "allowed: generate, reroll, panic, start, stop"),
        ("notes.128 = 'panic'", "notes.128: allowed: a number from 0 to 127"),
        ("programs.0 = 'nocturne'", "programs.0: allowed: a program number from 1 to 128"),
        ("programs.1 = ''", "programs.1: is ''; allowed: a text in quotes"),
        ("follow = 'harmonie'", "follow: is 'harmonie'; did you mean 'harmony'?; allowed: off, harmony, context"),
        ("respond = 9", "respond: is 9; allowed: a whole number from 0 to 8"),
        ("listen_channel = 17", "listen_channel: is 17; allowed: a whole number from 0 to 16"),
        ("a = ", "not valid TOML"),
        ("a = 1\na = 2", "not valid TOML"),
    ],
)
def test_an_error_in_a_patch_names_file_key_and_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        read_patch(path)
    assert str(error.value).startswith(f"{path}: ")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("osc_prot = 1", "did you mean 'osc_port'?"),
        ("osc_port = 0", "osc_port: is 0; allowed: a whole number from 1 to 65535"),
        ("midi_api = 'coremidi'", "allowed: auto, alsa, jack-native, jack, core, winmm, none"),
        ("clock_loss = 'panic'", "allowed: hold, stop"),
        ("latency_ms = 1e9", "allowed: a number from -500 to 500"),
        ("connect = 3", "connect: is 3"),
    ],
)
def test_an_error_in_the_machine_settings_names_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_machine(written(tmp_path, text))
    assert said in str(error.value)


def test_files_that_cannot_be_read_are_settings_errors(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.toml", tmp_path, binary):
        with pytest.raises(SettingsError, match=path.name):
            read_patch(path)


def test_every_shipped_patch_is_valid_and_fits_the_controls() -> None:
    assert "nocturne" in shipped_names("patches")
    for name in shipped_names("patches"):
        patch = read_patch(find_shipped("patches", name))
        Controls(patch.controls, patch.plan)


def test_the_shipped_files_say_the_defaults() -> None:
    assert read_machine(find_shipped("config", "machine")) == Machine()
    plain = read_patch(find_shipped("patches", "plain"))
    assert Patch(title="Plain", controls=plain.controls) == plain
    held = {name: BY_NAME[name].default for name in PATCH_KEYS if name != "latent"}
    assert plain.controls == {name: default for name, default in held.items() if default is not None}


@pytest.mark.parametrize(("kind", "name"), [("patches", "plain"), ("config", "machine")])
def test_every_key_of_the_shipped_files_has_a_comment_above(kind: str, name: str) -> None:
    lines = find_shipped(kind, name).read_text(encoding="utf-8").splitlines()  # type: ignore[arg-type]
    keys = [place for place, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert keys and all(lines[place - 1].startswith("# ") for place in keys)


def test_the_shipped_patch_mentions_every_key_there_is() -> None:
    text = find_shipped("patches", "plain").read_text(encoding="utf-8")
    names = [*PATCH_KEYS, *(attribute.name for attribute in ATTRIBUTES), *Patch.__dataclass_fields__]
    assert [name for name in names if f"{name} = " not in text and f"[{name}]" not in text] == []


def test_points_fill_the_slots_that_recall_goes_to(tmp_path: Path) -> None:
    patch = read_patch(written(tmp_path, "[points]\n3 = [0.5, -1]\n0 = [2]"))
    assert patch.points == {3: (0.5, -1.0, *[0.0] * 14), 0: (2.0, *[0.0] * 15)}
    controls = Controls(patch.controls, patch.plan, 1, patch.points)
    controls.apply("/fractal/latent/recall", [3])
    assert controls.snapshot.latent == patch.points[3]
    for text, said in (("16 = [1]", "a slot from 0 to 15"), ("1 = 2", "a list of 1 to 16"), ("1 = [9]", "-4 to 4")):
        with pytest.raises(SettingsError, match=said):
            read_patch(written(tmp_path, f"[points]\n{text}"))


def test_a_users_own_file_wins_over_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = written(tmp_path, "title = 'own'")
    assert find_shipped("patches", str(own)) == own
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nocturne.toml").write_text("", encoding="utf-8")
    assert find_shipped("patches", "nocturne.toml") == Path("nocturne.toml")
    assert find_shipped("patches", "nocturne").is_absolute()


def test_a_patch_that_is_nowhere_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match=r"noctrune: neither .* did you mean 'nocturne'\?; shipped patches: "):
        find_shipped("patches", "noctrune")


def test_a_program_that_calls_a_patch_which_is_nowhere_is_refused_before_the_show(tmp_path: Path) -> None:
    written(tmp_path, "")  # own.toml

    def run(name: str, folder: Path | None) -> RunSettings:
        patch = Patch(programs={4: name})
        return RunSettings(patch, Machine(), tmp_path, "internal", 3, tmp_path, patch_folder=folder)

    for name, folder in (("own", tmp_path), ("own.toml", tmp_path), ("nocturne", tmp_path), ("nocturne", None)):
        assert run(name, folder).patch.programs == {4: name}
    for name, folder in (("own", None), ("noctrune", tmp_path)):
        with pytest.raises(SettingsError, match=rf"programs\.5: {name}: neither a file nor shipped"):
            run(name, folder)


def test_an_installed_package_keeps_its_files_inside_and_ignores_strangers_beside_it(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "fractal_live"
    (package / "shipped" / "config").mkdir(parents=True)
    (tmp_path / "site-packages" / "config").mkdir()
    assert shipped_folder("config", package) == package / "shipped" / "config"
    (tmp_path / "site-packages" / "pyproject.toml").touch()
    assert shipped_folder("config", package) == tmp_path / "site-packages" / "config"
