"""Commands on machines as they are: odd paths, dead clusters, few cores, closed or narrow streams, other databases."""

import json
import os
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from alembic import command as alembic
from click.testing import CliRunner
from mlflow.store.db import utils as mlflow_tables
from tiny_study import tiny_config

from degas_ray.cli.main import main
from degas_ray.config import dump
from degas_ray.tracking import backend

ENTRY = Path(sys.executable).with_name("degas-ray")
SIGNS = "a b?c=1%41%%#d&e;f$g'h\"i[j]*k\\l+é@m:n"
OLD = "cbc13b556ace"  # a revision that MLflow 3.0 had
QUICK = {"full.steps": 2, "full.width": 4, "full.critic_width": 4, "full.batch": 8, "full.generator_batch": 8}


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``DEGAS ...`` in bash."""
    environment = {**os.environ, "DEGAS": str(ENTRY), **variables}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A study's settings, as small as can be."""
    file = tmp_path / "tiny.yaml"
    file.write_text(dump(tiny_config(study__trials=1, study__promote=False, study__rerank={"top": 0})))
    return file


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_home_of_any_name_holds_all_that_is_written(tmp_path: Path) -> None:
    """Every sign that means something in addresses, shells and patterns; what is beside the home stays as it was."""
    home = tmp_path / "outer" / SIGNS
    sets = [f"--set={key}={value}" for key, value in QUICK.items()]
    scores = [f"--set=scores.{key}=20" for key in ("samples", "real")]
    line = ["train", "degas-cifar10", "--limit", "64", *sets, *scores, "--set=scores.splits=2", "--home", str(home)]
    done = CliRunner().invoke(main, [*line, "--json", "--quiet"])
    assert done.exit_code == 0, done.stderr
    run = json.loads(done.stdout)
    with closing(sqlite3.connect(home / "mlflow.db")) as database:  # a path, and no address
        assert database.execute("SELECT status FROM runs WHERE run_uuid = ?", [run["run_id"]]).fetchall() == [
            ("FINISHED",)
        ]
    assert any(home.glob(f"mlflow-artifacts/{run['run_id']}/artifacts/**/generator.ckpt"))
    assert [path.name for path in tmp_path.iterdir()] == ["outer"]
    assert [path.name for path in (tmp_path / "outer").iterdir()] == [SIGNS]
    shown = CliRunner().invoke(main, ["compare", run["run_id"], "--home", str(home), "--json"])
    assert shown.exit_code == 0, shown.stderr


@pytest.mark.slow
def test_a_study_in_a_home_of_any_name(tmp_path: Path, settings: Path) -> None:
    home = tmp_path / "outer" / SIGNS
    done = shell(f'"$DEGAS" tune --config {settings} --name s --home {shlex.quote(str(home))}', tmp_path)
    assert done.returncode == 0, done.stderr
    study = json.loads((home / "studies/s/study.json").read_text())
    assert study["status"] == "finished"
    assert {path.name for path in tmp_path.iterdir()} == {"outer", "tiny.yaml"}
    assert [path.name for path in (tmp_path / "outer").iterdir()] == [SIGNS]


def test_a_home_that_is_no_text_is_refused(tmp_path: Path) -> None:
    done = shell("\"$DEGAS\" data list --home $'h\\xff'", tmp_path)
    assert done.returncode == 2
    assert "expected a name in UTF-8" in done.stderr
    assert files(tmp_path) == set()


@pytest.fixture
def silent() -> Iterator[str]:
    """Something that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def dead() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dead", "no cluster answers at"),
        ("silent", "no cluster answers there"),
        ("ray://127.0.0.1:10001", "expected HOST:PORT of a cluster's head"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_said_at_once(
    kind: str, words: str, tmp_path: Path, settings: Path, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(kind) if kind in ("dead", "silent") else kind
    began = time.monotonic()
    done = shell(f'"$DEGAS" tune --config {settings} --name s --home h', tmp_path, RAY_ADDRESS=address)
    seconds = time.monotonic() - began
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: RAY_ADDRESS: ")
    assert words in done.stderr
    assert "unset RAY_ADDRESS" in done.stderr
    assert "Traceback" not in done.stderr
    assert seconds < 20 or os.getloadavg()[0] > 3, seconds
    assert files(tmp_path) == {"tiny.yaml"}


def test_a_study_is_placed_on_the_cores_that_it_may_use(tmp_path: Path, settings: Path) -> None:
    core = min(os.sched_getaffinity(0))
    config = yaml.safe_load(settings.read_text())
    del config["study"]["concurrent"]
    settings.write_text(yaml.safe_dump(config))
    done = shell(f'taskset -c {core} "$DEGAS" tune --config {settings} --dry-run --json --home h', tmp_path)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["concurrent"] == 1
    assert plan["placement"]["promotion"]["cpus"] == 1


@pytest.mark.parametrize("line", ['"$DEGAS" --help', '"$DEGAS" data list --home h'])
def test_streams_that_are_closed_full_or_left(line: str, tmp_path: Path) -> None:
    closed = shell(f"{line} <&- >&-", tmp_path)
    assert (closed.returncode, closed.stderr) == (0, "")
    assert shell(f"{line} >&- 2>&-", tmp_path).returncode == 0
    full = shell(f"{line} > /dev/full", tmp_path)
    assert (full.returncode, full.stderr) == (1, "Error: No space left on device\n")
    left = shell(f"{line} | head -c 1", tmp_path)
    assert (len(left.stdout), left.stderr) == (1, "")


def compared(encoding: str, folder: Path, *options: str) -> str:
    """Return what compare prints in an encoding, decoded; click writes UTF-8 where Python says ASCII."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [ENTRY, "compare", *options, "--home", "h"], cwd=folder, env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode("utf-8" if encoding == "ascii" else encoding)


def test_what_an_encoding_lacks_is_written_in_other_signs(tmp_path: Path) -> None:
    """Latin-1 has no dash, and ASCII no plus-minus either; JSON is the same in all of them."""
    latin = compared("latin-1", tmp_path)
    assert "8.22 ± 0.5" in latin
    assert re.search(r"\| CT-GAN +\| 8.12 ± 0.12 \| +- \|", latin)
    assert re.search(r"\| CT-GAN +\| 8.12 \+- 0.12 \| +- \|", compared("ascii", tmp_path))
    assert json.loads(compared("utf-8", tmp_path, "--json")) == json.loads(compared("latin-1", tmp_path, "--json"))


def test_a_name_that_is_no_text_is_printed_as_a_literal(tmp_path: Path) -> None:
    done = subprocess.run(
        [ENTRY, "data", "prepare", b"folder:n\xff"], cwd=tmp_path, capture_output=True, check=False, text=True
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "n\\udcff" in done.stderr


def make_old(home: Path, revision: str = OLD) -> None:
    """Make a database as an older MLflow left it, by that version's own steps."""
    home.mkdir(parents=True)
    uri = backend.database_uri(home)
    engine = mlflow_tables.create_sqlalchemy_engine(uri)
    mlflow_tables.InitialBase.metadata.create_all(engine)
    config = mlflow_tables._get_alembic_config(uri)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, revision)
    engine.dispose()


def doctored(home: Path) -> dict[str, str]:
    """Return what doctor finds of a home's database."""
    said = CliRunner().invoke(main, ["doctor", "--home", str(home), "--json"])
    return next(item for item in json.loads(said.stdout)["findings"] if item["name"] == "MLflow database")


@pytest.mark.parametrize("name", ["home", "a b?c%41"])
def test_advice_about_an_older_database_works(name: str, tmp_path: Path) -> None:
    home = tmp_path / name
    make_old(home)
    finding = doctored(home)
    assert (finding["state"], OLD in finding["found"]) == ("fault", True)
    typed = shell(finding["advice"].partition("then type: ")[2], tmp_path)
    assert typed.returncode == 0, typed.stderr
    assert doctored(home)["state"] == "ok"
    done = CliRunner().invoke(main, ["compare", "0" * 32, "--home", str(home)])
    assert f"there is no run {'0' * 32}" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_newer_database_is_not_to_be_upgraded(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_old(home, "head")
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
        database.commit()
    before = (home / "mlflow.db").read_bytes()
    for verb in ("compare", "doctor"):
        done = CliRunner().invoke(main, [verb, *(["0" * 32] if verb == "compare" else []), "--home", str(home)])
        assert done.exit_code == (2 if verb == "compare" else 1)
        said = " ".join((done.stdout + done.stderr).split())
        assert "0123456789ab" in said
        assert "a newer MLflow than" in said
        assert "pip install --upgrade 'mlflow>" in said
        assert "db upgrade" not in said
    assert (home / "mlflow.db").read_bytes() == before
