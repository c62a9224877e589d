"""The `hares` command from outside: help, exit codes, and errors that cost seconds."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.errors import CommandError, ExitCode
from cli.main import hares

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
DOCS = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def call(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=PROJECT, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found += (
            leaves(command, (*path, name)) if isinstance(command, click.Group) else [((*path, name), command)]
        )
    return found


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['hares', '--help']\n"
        "from cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'tensorflow', 'tfx', 'numpy', 'rich', 'sklearn'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]" and "hares demo" in done.stdout


@pytest.mark.parametrize(
    "path, command", leaves(hares), ids=lambda v: " ".join(v) if isinstance(v, tuple) else ""
)
def test_every_command_says_what_it_does_with_an_example(
    path: tuple[str, ...], command: click.Command
) -> None:
    text = command.get_help(click.Context(command, info_name=" ".join(("hares", *path))))
    assert f"hares {' '.join(path)}" in text.split("Options:")[0].replace("Usage:", "", 1), "no example"
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, f"{path}: {option.name} has no help"


def documented_commands() -> list[tuple[str, str]]:
    """(file, command) of every `hares ...` line in a fenced block of the README and docs."""
    found = []
    for path in DOCS:
        for block in re.findall(
            r"```(?:console|sh|bash)\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL
        ):
            lines = block.replace("\\\n", " ").splitlines()
            found += [
                (path.name, line.removeprefix(".venv/bin/"))
                for line in lines
                if re.match(r"(\.venv/bin/)?hares ", line)
            ]
    return found


@pytest.mark.parametrize("file, line", documented_commands())
def test_documented_commands_parse(file: str, line: str) -> None:
    """Held against the command's own parser: a renamed option or command makes the docs fail."""
    _, *words = shlex.split(line, comments=True)
    command: click.Command = hares
    while isinstance(command, click.Group):
        if words[0] in ("--help", "--version"):
            return
        name = words.pop(0)
        group, found = command, command.get_command(click.Context(command), name)
        assert found is not None, f"{file}: there is no command {name!r} in {group.name}"
        command = found
    command.make_parser(click.Context(command)).parse_args(words)


def test_corpus_check_in_json(shared_corpus: Path) -> None:
    done = call("corpus", "check", str(shared_corpus), "--json")
    assert done.returncode == 0, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert len(checks) == 12 and all(check["found"] and not check["error"] for check in checks.values())
    for name, check in checks.items():
        with open(Path(check["root"]) / "PROVENANCE.csv", encoding="utf-8") as file:
            assert check["files"] == sum(1 for _ in file) - 1, name
    v1, v2 = checks["speech_commands_v1"], checks["speech_commands_v2"]
    assert v1["slots"][0]["classes_defined"] == 12 and v2["slots"][0]["classes_defined"] == 35
    assert not checks["birdsong"]["split_is_official"] and checks["voxceleb1"]["split_is_official"]


def test_corpus_check_says_what_is_missing(tmp_path: Path) -> None:
    done = call("corpus", "check", str(tmp_path), "--task", "esc50")
    assert done.returncode == 4 and "cannot be used: esc50" in done.stderr


@pytest.fixture(scope="module")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ESC-50's index without any audio, and a birdsong index of one class: enough for settings to be checked."""
    corpus = tmp_path_factory.mktemp("tiny")
    (corpus / "pretrain").mkdir()
    (corpus / "esc50" / "meta").mkdir(parents=True)
    rows = [
        f"1-{i}-A-{i % 2}.wav,{i % 5 + 1},{i % 2},{('dog', 'rooster')[i % 2]},True,{i},A" for i in range(10)
    ]
    header = "filename,fold,target,category,esc10,src_file,take"
    (corpus / "esc50" / "meta" / "esc50.csv").write_text("\n".join([header, *rows]) + "\n")
    (corpus / "speech_commands_v2" / "yes").mkdir(parents=True)
    for speaker, name in (("a", "testing_list.txt"), ("b", "validation_list.txt"), ("c", "")):
        (corpus / "speech_commands_v2" / "yes" / f"{speaker}_nohash_0.wav").write_bytes(b"")
        if name:
            (corpus / "speech_commands_v2" / name).write_text(f"yes/{speaker}_nohash_0.wav\n")
    return corpus


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "training.stepz=3"], r"unknown setting training\.stepz; did you mean training\.steps\?"),
        (["--set", "training.steps=many"], r"training\.steps: got 'many' \(str\); accepted is int"),
        (["--set", "training.steps=0"], r"training: steps=0 is not accepted; give an integer of at least 1"),
        (["--set", "training.encoder=resnet9000"], r"unknown encoder 'resnet9000'; there are .*sf_nfnet_f0"),
        (["--set", "training.objective=byolx"], r"unknown objective 'byolx'; there are .*simclr"),
        (
            ["--set", "training.objective=classification"],
            r"got 'classification', but .* no multi-label classes",
        ),
        (["--set", "pretraining.source=nowhere"], r"pretraining\.source: nowhere is not a folder"),
        (["--set", "tasks=[esc51]"], r"tasks: got 'esc51'; accepted are audioset"),
        (["--set", "tasks=[voxforge]"], r"got voxforge, but there is no folder .*voxforge"),
        (["--set", "tasks=[speech_commands_v2]"], r"speech_commands_v2 cannot be scored .* 1 kind"),
        (["--set", "blessing.min_hares=50"], r"blessing\.min_hares: got 50.0; accepted is a fraction"),
        (["--set", "frontend.num_mel_bins=5000"], r"mel filters .* hold no FFT bin"),
        (["--config", "nosuch"], r"neither a preset nor an existing file; .*hares presets"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_accepted(
    tiny_corpus: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    from pipeline.config import load_config
    from pipeline.resolve import resolve
    from pipeline.settings import SettingError

    name = options[1] if options[0] == "--config" else "demo"
    defaults = [] if any("tasks=" in option for option in options) else ["tasks=[esc50]"]
    with pytest.raises(SettingError, match=message):
        config = load_config(name, [*defaults, *(options[1:2] if options[0] == "--set" else [])])
        resolve(config, tiny_corpus, {}, tmp_path)


def test_a_wrong_setting_is_one_line_and_exit_code_3_and_nothing_is_made(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    options = ("--corpus", str(tiny_corpus), "--workspace", str(tmp_path / "w"), "--set", "tasks=[voxforge]")
    done = call("run", *options)
    assert done.returncode == 3, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert re.search(r"got voxforge, but there is no folder .*voxforge", line)
    assert not (tmp_path / "w" / "metadata.sqlite").exists()


@pytest.mark.parametrize("command", ["run", "study"])
@pytest.mark.parametrize("workspace", ["w [1]", "w*", "two\nlines", "w\udcff"])
def test_a_workspace_that_cannot_work_is_refused_and_not_made(
    tiny_corpus: Path, tmp_path: Path, command: str, workspace: str
) -> None:
    options = [command, "--corpus", str(tiny_corpus), "--workspace", str(tmp_path / workspace)]
    found = CliRunner().invoke(hares, options).exception
    assert isinstance(found, CommandError) and found.code == ExitCode.SETTINGS
    assert "--workspace" in str(found) and list(tmp_path.iterdir()) == []


def test_a_workspace_that_is_a_file_is_refused(tiny_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    options = ["study", "--corpus", str(tiny_corpus), "--workspace", str(tmp_path / "file" / "w")]
    found = CliRunner().invoke(hares, options).exception
    assert isinstance(found, CommandError) and found.code == ExitCode.SETTINGS and "file" in str(found)


def test_a_corpus_that_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "two\nlines").mkdir()
    options = ["run", "--corpus", f"esc50={tmp_path}/two\nlines", "--workspace", str(tmp_path / "w")]
    found = CliRunner().invoke(hares, options).exception
    assert isinstance(found, CommandError) and found.code == ExitCode.SETTINGS
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("setting", ["name=My_Run", "training.stepz=1"])
def test_a_demo_with_a_wrong_setting_makes_no_corpus(tmp_path: Path, setting: str) -> None:
    found = CliRunner().invoke(hares, ["demo", "--workspace", str(tmp_path), "--set", setting]).exception
    assert isinstance(found, CommandError) and found.code == ExitCode.SETTINGS
    assert not (tmp_path / "corpus").exists()


def test_a_corpus_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    done = call("run", "--corpus", str(tmp_path / "nowhere"), "--workspace", str(tmp_path / "w"))
    assert done.returncode == 3 and "is not a folder" in done.stderr


def test_a_config_file_names_a_preset_and_what_differs(tmp_path: Path) -> None:
    from pipeline.config import load_config

    path = tmp_path / "mine.yaml"
    path.write_text(
        "preset: demo\nname: mine\ntraining: {steps: 7, warmup_steps: 1}\nprotocol: {max_steps: 50}\n"
    )
    config = load_config(str(path), ["training.seed=3"])
    assert (config.name, config.training.steps, config.training.seed) == ("mine", 7, 3)
    assert config.protocol.max_steps == 50 and config.training.encoder == "sf_nfnet_tiny"


def test_the_paper_presets_are_the_papers_numbers() -> None:
    """Section 3 and appendix C."""
    from pipeline.config import load_config

    for name, batch, steps in (("paper_simclr", 4096, 200_000), ("paper_classification", 1024, 100_000)):
        config = load_config(name)
        training = config.training
        assert (training.batch_size, training.steps, training.encoder) == (batch, steps, "sf_nfnet_f0")
        assert (training.peak_learning_rate, training.warmup_steps, training.crop_seconds) == (
            2e-4,
            5000,
            3.0,
        )
        assert not training.objective_settings and (training.mixing_alpha, training.mixing_beta) == (5, 2)
        assert config.frontend.num_mel_bins == 80
        assert config.pretraining.source == "audioset" and config.protocol.max_steps is None


def test_corpus_unpack(tmp_path: Path) -> None:
    (tmp_path / "birdsong").mkdir()
    with zipfile.ZipFile(tmp_path / "birdsong/ff1010bird_wav.zip", "w") as file:
        file.writestr("wav/1.wav", b"one")
    done = call("corpus", "unpack", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (
        "1 files in" in done.stdout
        and (tmp_path / "birdsong/ff1010bird_wav/wav/1.wav").read_bytes() == b"one"
    )
    (tmp_path / "birdsong/other.tgz").write_bytes(b"broken")
    done = call("corpus", "unpack", f"birdsong={tmp_path / 'birdsong'}", "--task", "birdsong")
    assert done.returncode == 4 and "other.tgz: the archive is broken" in done.stderr
    assert call("corpus", "unpack", str(tmp_path), "--task", "esc10").returncode == 3
