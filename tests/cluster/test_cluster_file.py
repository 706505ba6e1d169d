"""A cluster's YAML: Ray's part by Ray's own schema, ours beside it, all faults at once."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from degas_ray.cli.main import main
from degas_ray.cluster import read_cluster
from degas_ray.cluster.ssh import OverSsh
from degas_ray.cluster.state import ClusterFolder, State
from degas_ray.errors import ConfigError, InputError

REPOSITORY = Path(__file__).parents[2]
RACK: dict[str, Any] = {
    "cluster_name": "rack",
    "provider": {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2", "10.0.0.3"]},
    "auth": {"ssh_user": "me"},
    "degas": {
        "settings": {"dataset": "digits", "study": {"trials": 6}},
        "budget": {"hours": 2, "dollars": 9},
        "prices": {"head": 0.5, "worker": 2},
        "storage": {"home": "/shared/runs"},
        "tracking": {"host": "10.0.0.1"},
        "idle_shutdown": "30m",
    },
}

SAID = {"dataset": "digits", "study": {"trials": 6, "concurrent": 2, "gpus": 1, "promotion_gpus": 1}}


@pytest.fixture(autouse=True)
def _no_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # reading a file sets it; undone after the test


def written(tmp_path: Path, **changes: Any) -> Path:
    """Write the rack's file with dotted keys changed; ``None`` removes one."""
    tree = json.loads(json.dumps(RACK))
    for dotted, value in changes.items():
        *path, leaf = dotted.split("__")
        section = tree
        for name in path:
            section = section[name]
        if value is None:
            section.pop(leaf)
        else:
            section[leaf] = value
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def test_the_repositorys_file_is_this_machine_alone() -> None:
    file = read_cluster(REPOSITORY / "cluster.yaml")
    assert (file.here, file.provider, file.workers.most, file.price) == (True, "local", 0, None)
    assert file.config.dataset == "digits"


@pytest.mark.parametrize(("name", "most"), [("on-prem", 2), ("aws", 8), ("gcp", 8), ("thousand-gpus", 1000)])
def test_the_examples_fit_rays_schema_and_ours(name: str, most: int) -> None:
    file = read_cluster(REPOSITORY / "experiments" / "clusters" / f"{name}.yaml")
    assert (file.here, file.workers.most) == (False, most)
    assert file.degas.storage.home == "/shared/degas-runs"
    if name != "on-prem":
        workers = file.ray["available_node_types"]["spot"]["node_config"]
        assert workers.get("scheduling", {}).get("provisioningModel") == "SPOT" or (
            workers["InstanceMarketOptions"]["MarketType"] == "spot"
        )


def test_a_thousand_gpus_have_a_tracking_server_of_their_own() -> None:
    file = read_cluster(REPOSITORY / "experiments" / "clusters" / "thousand-gpus.yaml")
    assert file.degas.tracking.uri == "http://mlflow.REPLACE.internal:5000"
    assert (file.config.study.concurrent, file.config.study.gpus) == (1000, 1)
    assert file.ray["available_node_types"]["head"]["resources"] == {"CPU": 0}
    parts = (file.config.search, file.config.proxy, file.config.full)
    assert {part.checkpoint_seconds for part in parts} == {300}


def test_a_rack_with_its_price_and_budget(tmp_path: Path) -> None:
    file = read_cluster(written(tmp_path))
    assert not file.here
    assert (file.workers.least, file.workers.most) == (2, 2)
    assert file.price is not None
    assert (file.price.least, file.price.most) == (4.5, 4.5)
    budget = file.config.study.budget
    assert (budget.hours, budget.dollars, budget.dollars_per_hour) == (2, 9, 4.5)
    assert (file.config.study.trials, file.degas.idle_shutdown) == (6, 1800)
    assert "degas" not in file.ray


def test_fewer_workers_at_first_is_a_span(tmp_path: Path) -> None:
    file = read_cluster(written(tmp_path, min_workers=0, degas__settings=SAID))
    assert file.price is not None
    assert (file.price.least, file.price.most) == (0.5, 4.5)


def test_what_is_counted_at_the_beginning_must_be_said_where_no_worker_is_there_yet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_cluster(written(tmp_path, min_workers=0))
    why = "missing; the cluster begins without workers, so it cannot be counted then"
    keys = ("concurrent", "gpus", "promotion_gpus")
    assert caught.value.faults == tuple(f"degas.settings.study.{key}: {why}" for key in keys)


def test_all_faults_of_both_parts_come_at_once(tmp_path: Path) -> None:
    file = written(tmp_path, max_workers="two", degas__idle_shutdown=5, degas__bugdet={}, degas__python="python3")
    with pytest.raises(ConfigError) as caught:
        read_cluster(file)
    assert caught.value.faults == (
        "max_workers: 'two' is not of type 'integer'",
        "degas.idle_shutdown: got 5, expected a number with s, m, h or d, such as 30m",
        "degas.python: got 'python3', expected a path that begins with /",
        "degas.bugdet: no such key; did you mean budget?",
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"cluster_name": None}, "cluster_name: missing"),
        ({"cluster_name": "a/b"}, "cluster_name: got 'a/b', expected up to 40 letters"),
        ({"provider__type": "lokal"}, "provider.type: got 'lokal', expected one of aliyun, aws,"),
        ({"provider__head_ip": None}, "provider.head_ip: got None, expected an address"),
        ({"provider__worker_ips": None}, "provider.worker_ips: missing; expected a list"),
        ({"available_node_types": {"a": {"node_config": {}, "resources": {}}}}, "available_node_types: not for"),
        ({"degas__prices": {"gpu": 3}}, "degas.prices.gpu: there is no such node type; expected head or worker"),
        ({"degas__prices": {}}, "degas.budget.dollars: counted by degas.prices"),
        ({"degas__storage": {}}, "degas.storage.home: missing; hosts over SSH need a folder"),
        ({"degas__storage": {"home": "runs"}}, "degas.storage.home: got 'runs', expected a path that begins with /"),
        ({"degas__tracking": {}}, "degas.tracking.host: workers on other hosts cannot reach 127.0.0.1"),
        ({"degas__settings": {"search": {"widht": 1}}}, "degas.settings.search.widht: no such key; did you mean"),
        (
            {"degas__tracking": {"uri": "mlflow:5000"}},
            "degas.tracking.uri: got 'mlflow:5000', expected an",
        ),
        ({"degas__budget": {"trials": 0}}, "degas.budget.trials: got 0, expected greater than or equal to 1"),
    ],
)
def test_faults_are_sentences_by_dotted_path(changes: dict[str, Any], fault: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_cluster(written(tmp_path, **changes))
    assert [text for text in caught.value.faults if text.startswith(fault)], caught.value.faults


ALONE = {"type": "local", "head_ip": "10.0.0.1", "worker_ips": []}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, "degas.tracking.uri: got 'sqlite:///runs.db', a file, which several hosts cannot write safely; leave it"),
        ({"provider": ALONE}, "degas.tracking.uri: got 'sqlite:///runs.db', whose path begins in the job's own folder"),
        ({"provider": ALONE, "degas__tracking": {"uri": "sqlite:////shared/runs.db"}}, None),
        ({"provider": {**ALONE, "head_ip": "127.0.0.1"}}, None),
        ({"degas__tracking": {"uri": "postgresql://db/runs"}}, None),
    ],
)
def test_a_sqlite_file_is_for_one_host_that_finds_it_again(
    changes: dict[str, Any], fault: str | None, tmp_path: Path
) -> None:
    file = written(
        tmp_path, **{"degas__tracking": {"uri": "sqlite:///runs.db"}, "degas__prices": {"head": 1}, **changes}
    )
    if fault is None:
        read_cluster(file)
        return
    with pytest.raises(ConfigError) as caught:
        read_cluster(file)
    assert [text.startswith(fault) for text in caught.value.faults] == [True], caught.value.faults


def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    tracking = {"uri": "http://me:geheim@mlflow.example.com:5000"}
    with pytest.raises(ConfigError, match=r"degas\.tracking\.uri: got an address with a password") as caught:
        read_cluster(written(tmp_path, degas__tracking=tracking))
    assert "geheim" not in str(caught.value)


def test_an_unknown_key_of_rays_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'head_nodes' was unexpected"):
        read_cluster(written(tmp_path, head_nodes={}))


def test_an_experiment_lies_below_the_files_own_settings(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("dataset: photos\nstudy: {trials: 3, cpus: 2}\n")
    config = read_cluster(written(tmp_path, degas__experiment="mine.yaml")).config
    assert (config.dataset, config.study.trials, config.study.cpus) == ("digits", 6, 2)
    with pytest.raises(InputError, match="cannot read the configuration"):
        read_cluster(written(tmp_path), tmp_path / "other.yaml")


def test_dry_run_prints_hosts_price_and_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = str(written(tmp_path, min_workers=0, degas__settings=SAID))
    text = CliRunner().invoke(main, ["launch", file, "--dry-run"]).stdout
    for part in (
        "one head by local, 0 to 2 workers",
        "6 trials on digits",
        "$0.50 to $4.50 an hour",
        "2 hours, 9 dollars",
        "the cluster ends after 30 minutes without a study",
    ):
        assert part in text
    facts = json.loads(CliRunner().invoke(main, ["launch", file, "--dry-run", "--json"]).stdout)
    assert (facts["workers"], facts["dollars_per_hour"], facts["config"]["dataset"]) == ([0, 2], [0.5, 4.5], "digits")
    assert [path.name for path in tmp_path.iterdir()] == ["cluster.yaml"]


@pytest.mark.parametrize(
    ("verb", "part"),
    [
        ("attach", "no study was launched with"),
        ("logs", "cluster.yaml yet; type 'degas-ray launch "),
        ("stop", "the cluster degas is not up; type 'degas-ray launch"),
    ],
)
def test_verbs_of_a_cluster_that_is_not_up(verb: str, part: str, tmp_path: Path) -> None:
    file = str(REPOSITORY / "cluster.yaml")
    result = CliRunner().invoke(main, [verb, file, "--home", str(tmp_path)])
    assert result.exit_code == 2, result.output
    assert part in result.stderr


def test_down_of_what_is_down_is_no_error(tmp_path: Path) -> None:
    file = str(REPOSITORY / "cluster.yaml")
    result = CliRunner().invoke(main, ["down", file, "--home", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (0, "The cluster degas is down; no process of it is left.\n")
    status = json.loads(CliRunner().invoke(main, ["status", file, "--home", str(tmp_path), "--json"]).stdout)
    assert (status["up"], status["nodes"], status["expected"]) == (False, 0, 1)


def test_every_launch_is_news_to_rays_launcher(tmp_path: Path) -> None:
    """Ray copies nothing to a host whose files have the hash of the last launch; `down` has removed them since."""
    from ray.autoscaler._private.util import hash_runtime_conf

    folder = ClusterFolder(tmp_path, "rack")
    folder.root.mkdir(parents=True)
    folder.make_token()
    state = State(mark="m", python="python3", home="/shared/runs", gcs=6379, dashboard=8265, tracking="")
    hosts = OverSsh(read_cluster(written(tmp_path)), folder, state)
    hashes = []
    for launch in range(2):
        hosts._write_upload()
        # The words that Ray hashes with the files are given once each, since it remembers what it hashed.
        _, contents = hash_runtime_conf({"~": str(folder.root / "upload")}, None, launch, True)
        hashes.append(contents)
    assert hashes[0] != hashes[1]
