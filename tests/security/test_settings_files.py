"""Settings, grids and cluster files of a stranger's: nothing in them is executed, imported or sent anywhere."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

pytest.importorskip("tfx")  # components.beam_runner is below a package that imports it

from kubeflow.cluster_file import ClusterConfig, check_beam_flags
from pipeline.beam_args import _parser
from pipeline.beam_flags import _PLACES, _TUNING
from pipeline.config import PipelineConfig, load_config
from pipeline.grid import load_grid
from pipeline.settings import SettingError, refuse_secrets

pytestmark = pytest.mark.slow

CLUSTER = ClusterConfig(image="r.example/hares:1", pipeline_root="gs://b/h", workspace="/w")
IMAGE = "--sdk_container_image=r.example/i:1"
HERE = Path(__file__).resolve().parent

# Every flag makes Beam run, import, unpickle, install or send something; {mark} is a file that a program would make.
CODE = {
    "prism": ["--runner=PrismRunner", "--prism_location={program}"],
    "prism in small letters": ["--runner=prism"],
    "a module": ["--runner=stranger.Runner"],
    "a module with a known class": ["--runner=stranger.DirectRunner"],
    "a module, the value apart": ["--runner", "stranger.FlinkRunner"],
    "a module before a known one": ["--runner=stranger.Runner", "--runner=DirectRunner"],
    "interactive": ["--runner=InteractiveRunner"],
    "a program as environment": ["--environment_type=PROCESS", '--environment_config={{"command": "{program}"}}'],
    "a program as option": ["--environment_type=PROCESS", "--environment_options=process_command={program}"],
    "a Java launcher": ["--runner=FlinkRunner", "--job_server_java_launcher={program}"],
    "properties of Java": ["--runner=SparkRunner", "--job_server_jvm_properties=-javaagent:{program}"],
    "a job server": ["--runner=FlinkRunner", "--flink_job_server_jar={program}"],
    "Spark's job server": ["--runner=SparkRunner", "--spark_job_server_jar={program}"],
    "a folder of jars": ["--runner=FlinkRunner", "--jar_cache_dir=/tmp"],
    "another place of jars": ["--runner=FlinkRunner", "--maven_repository_url=http://stranger.example"],
    "settings of Flink": ["--runner=FlinkRunner", "--flink_conf_dir=/tmp"],
    "a class of Flink's": ["--runner=FlinkRunner", "--state_backend_factory=stranger.Factory"],
    "services": ['--beam_services={{"a": "{program}"}}'],
    "setup.py": ["--setup_file={program}"],
    "requirements": ["--requirements_file={program}"],
    "a package": ["--extra_package={program}"],
    "packages": ["--extra_packages={program}"],
    "a plugin of Beam's": ["--beam_plugins=stranger"],
    "an SDK": ["--sdk_location=http://stranger.example/sdk.tar.gz"],
    "a file to send": ["--files_to_stage=/etc/passwd"],
    "the main session": ["--save_main_session"],
    "another pickle": ["--pickle_library=dill"],
    "a pickle": ["--on_success_matcher={program}"],
    "a prebuilt image": ["--prebuild_sdk_container_engine=local_docker"],
    "an experiment": ["--experiments=beam_fn_api"],
    "an image": ["--sdk_container_image=stranger.example/image"],
    "an image by its old name": ["--worker_harness_container_image=stranger.example/image"],
    "images instead": ["--sdk_harness_container_image_overrides=.*,stranger.example/image"],
    "a file written": ["--dataflow_job_file={mark}"],
    "a jar written": ["--runner=FlinkRunner", "--output_executable_path={mark}"],
    "a profile written": ["--profile_cpu", "--profile_location=/tmp"],
    "a scheduler's file": ["--dask_scheduler_file=/tmp/x"],
    "another API": ["--dataflow_endpoint=https://stranger.example"],
    "another S3": ["--s3_endpoint_url=http://stranger.example"],
    "S3 without verification": ["--s3_verify=false"],
    "another account": ["--impersonate_service_account=stranger@example.iam"],
    "what only a job server knows": ["--runner=PortableRunner", "--job_endpoint=localhost:1", "--anything=1"],
}  # fmt: skip
# A cluster file says where work is done; a settings file does not.
PLACES = {
    "flink": ["--runner=FlinkRunner", "--flink_master=stranger.example:8081", IMAGE],
    "portable": ["--runner=PortableRunner", "--job_endpoint=stranger.example:8099", "--environment_type=LOOPBACK"],
    "dataflow": ["--runner=DataflowRunner", "--project=stranger", "--region=europe-west4",
                 "--temp_location=gs://stranger/t", "--staging_location=gs://stranger/s", IMAGE],
    "spark": ["--runner=SparkRunner", "--spark_master_url=spark://stranger.example:7077", IMAGE],
    "dask": ["--dask_client_address=tcp://stranger.example:8786"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that can be imported and a program, both of which leave a mark."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    mark = folder / "executed"
    (folder / "stranger.py").write_text(
        f"open({str(mark)!r}, 'w')\nfrom apache_beam.runners.runner import PipelineRunner\n"
        "class Runner(PipelineRunner): pass\nDirectRunner = FlinkRunner = Runner\n"
    )
    (folder / "program").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (folder / "program").chmod(0o755)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("stranger", None)
    assert not mark.exists()


def filled(flags: list[str], stranger: Path) -> list[str]:
    return [flag.format(program=stranger / "program", mark=stranger / "executed") for flag in flags]


def written(path: Path, content: object) -> str:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("flags", [*CODE.values(), *PLACES.values()], ids=[*CODE, *PLACES])
def test_neither_settings_nor_a_grid_tell_beam_to_run_anything(
    flags: list[str], stranger: Path, tmp_path: Path
) -> None:
    flags = filled(flags, stranger)
    settings = written(tmp_path / "s.yaml", {"preset": "demo", "beam_args": flags})
    with pytest.raises(SettingError, match="beam_args"):
        load_config(settings)
    cells = [{"presets": ["demo"]}]
    for grid in (
        {"name": "g", "settings": {"beam_args": flags}, "cells": cells},
        {"name": "g", "cells": [{**cells[0], "settings": {"beam_args": flags}}]},
    ):
        with pytest.raises(SettingError, match="beam_args"):
            load_grid(written(tmp_path / "g.yaml", grid))


@pytest.mark.parametrize("flags", CODE.values(), ids=CODE)
def test_a_cluster_file_names_places_and_no_programs(flags: list[str], stranger: Path) -> None:
    if flags == CODE["an image"]:
        pytest.skip("images are what a cluster file is for")
    flags = filled(flags, stranger)
    with pytest.raises(SettingError, match="beam_args"):
        check_beam_flags(replace(CLUSTER, beam_args=tuple(flags)), PipelineConfig())


@pytest.mark.parametrize("flags", [PLACES[name] for name in ("flink", "portable", "dataflow", "spark")])
def test_a_cluster_file_says_where_the_work_is_done(flags: list[str]) -> None:
    check_beam_flags(replace(CLUSTER, beam_args=tuple(flags)), PipelineConfig())


def test_the_command_line_may_say_what_a_file_may_not(tmp_path: Path) -> None:
    flags = [
        "--flink_master=host:8081",
        "--runner=FlinkRunner",
        "--job_server_java_launcher=/opt/java",
        IMAGE,
    ]
    settings = written(tmp_path / "s.yaml", {"preset": "demo", "beam_args": ["--direct_num_workers=2"]})
    assert load_config(settings).beam_args == ("--direct_num_workers=2",)
    given = load_config(settings, [f"beam_args={flags}"])
    assert given.beam_args == tuple(flags)
    check_beam_flags(replace(CLUSTER, beam_args=tuple(flags[2:3])), given)
    grid = {
        "name": "g",
        "settings": {"beam_args": ["--direct_num_workers=2"]},
        "cells": [{"presets": ["demo"]}],
    }
    assert load_grid(written(tmp_path / "g.yaml", grid), [f"beam_args={flags}"]).cells[
        0
    ].config.beam_args == (tuple(flags))


def test_a_grids_flags_are_checked_by_beam(tmp_path: Path) -> None:
    grid = {
        "name": "g",
        "settings": {"beam_args": ["--direct_num_worker=2"]},
        "cells": [{"presets": ["demo"]}],
    }
    with pytest.raises(SettingError, match="direct_num_workers"):
        load_grid(written(tmp_path / "g.yaml", grid))


def test_every_flag_that_a_file_may_set_is_one_of_beams() -> None:
    """A name that Beam gives up, or gives to something else, is to be looked at again."""
    known = {
        flag.removeprefix("--")
        for runner in ("FlinkRunner", "SparkRunner")
        for action in _parser(runner)._actions
        for flag in action.option_strings
    }
    dask = {name for name in _TUNING | _PLACES if name.startswith("dask_")}
    assert (_TUNING | _PLACES) - dask - known == set()


PLUGIN = "open({mark!r}, 'w')\nENCODERS = {{}}\n"


def test_a_file_that_names_a_plugin_does_not_execute_it(stranger: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.format(mark=str(stranger / "executed")))
    entry = [str(plugin), hashlib.sha256(plugin.read_bytes()).hexdigest()]
    settings = written(tmp_path / "s.yaml", {"preset": "demo", "plugins": [entry]})
    grid = {"name": "g", "settings": {"plugins": [entry]}, "cells": [{"presets": ["demo"]}]}
    with pytest.raises(SettingError, match="--plugin"):
        load_config(settings)
    with pytest.raises(SettingError, match="--plugin"):
        load_grid(written(tmp_path / "g.yaml", grid))
    with pytest.raises(SettingError, match="--plugin"):
        load_config("demo", [f"plugins={[entry]}"])


def test_settings_of_a_run_with_a_plugin_go_with_that_plugin(tmp_path: Path) -> None:
    """A run's recorded settings are a settings file; the plugin may have moved since, but not changed."""
    plugin = tmp_path / "harmless.py"
    plugin.write_text("ENCODERS = {}\n")
    digest = hashlib.sha256(plugin.read_bytes()).hexdigest()
    settings = written(tmp_path / "s.yaml", {"preset": "demo", "plugins": [["/elsewhere/x.py", digest]]})
    assert load_config(settings, [], [plugin]).plugins == ((str(plugin), digest),)
    other = written(tmp_path / "o.yaml", {"preset": "demo", "plugins": [[str(plugin), "0" * 64]]})
    with pytest.raises(SettingError, match="--plugin"):
        load_config(other, [], [plugin])


NAMES = ["../../ESCAPED", "..", ".", "", "/etc/x", "a/b", "a\\b", "a\nb", "a\x1b[2Jb", "-rf", ".hidden", "x" * 64, "ü",
         "{SPAN}", "a b", "[red]"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="name"):
        load_grid(written(tmp_path / "g.yaml", {"name": name, "cells": [{"presets": ["demo"]}]}))
    with pytest.raises(SettingError, match="name"):
        load_config(written(tmp_path / "s.yaml", {"preset": "demo", "name": name}))


SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "flags",
    [
        [f"--s3_secret_access_key={SECRET}"],
        ["--s3_secret_access_key", SECRET],
        [f"--s3_access_key_id={SECRET}"],
        [f"--s3_session_token={SECRET}"],
        [f"--azure_connection_string=AccountName=a;AccountKey={SECRET}"],
        [f"--S3_SECRET_ACCESS_KEY={SECRET}"],
        ["--runner=PortableRunner", "--job_endpoint=h:1", f"--registry_password={SECRET}", IMAGE],
        ["--environment_type=EXTERNAL", f"--environment_config=https://user:{SECRET}@host:1"],
        [f"--blob_service_endpoint=https://a.blob.core.windows.net/?sv=1&sig={SECRET}"],
        [f'--labels={{"token": "{SECRET}"}}'],
    ],
)
def test_a_flag_with_a_secret_is_refused_and_not_repeated(flags: list[str]) -> None:
    """Settings are recorded in the store, its page, the log and the report: from the command line too."""
    with pytest.raises(SettingError) as caught:
        load_config("demo", [f"beam_args={flags}"])
    assert SECRET not in str(caught.value)
    with pytest.raises(SettingError) as caught:
        check_beam_flags(replace(CLUSTER, beam_args=tuple(flags)), PipelineConfig())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"s3://user:{SECRET}@host/b",
        f"https://h/b?X-Amz-Signature={SECRET}",
        f"token={SECRET}",
        "AKIAIOSFODNN7EXAMPLE",
    ],
)
@pytest.mark.parametrize("key", ["pretraining.source", "pretraining.warm_start"])
def test_no_setting_records_a_secret(key: str, text: str) -> None:
    with pytest.raises(SettingError, match=key) as caught:
        load_config("demo", [f'{key}="{text}"'])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["/data/span-{SPAN}", "gs://bucket/token-ring", "user@host:/x", "s3://b/a:b/c", ""]
)
def test_what_only_looks_like_a_secret_is_taken(text: str) -> None:
    refuse_secrets({"a": [text]})


def test_the_command_says_which_setting_and_how_to_mean_it(stranger: Path, tmp_path: Path) -> None:
    flags = filled(CODE["prism"], stranger)
    settings = written(tmp_path / "s.yaml", {"preset": "demo", "beam_args": flags})
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "run", "--config", settings, "--corpus", str(tmp_path), "--workspace",
         str(tmp_path / "w")],
        capture_output=True, text=True, check=False, cwd=HERE.parents[1],
    )  # fmt: skip
    assert done.returncode == 3 and "beam_args" in done.stderr and "--set" in done.stderr
