"""Search, training and scores at their place: the same whether or not they were interrupted."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_study import Notes, tiny_config

from degas_ray.config import Config
from degas_ray.data import Pack, prepare
from degas_ray.errors import Interrupted
from degas_ray.gan import build_generator, generate
from degas_ray.gan import train as adversarial
from degas_ray.runs.run import Place
from degas_ray.runs.work import judge, make_try, scoring_work, search_work, training_work
from degas_ray.scores import extract, kernel_distance
from degas_ray.seeds import derive
from degas_ray.space import Genotype, Space

GENOTYPE = Space().random(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def pack(home: Path) -> Pack:
    return prepare("digits", home, limit=64)


def after(calls: int) -> Callable[[], bool]:
    """Return a question that is answered with yes from its ``calls``-th time on."""
    count = 0

    def ask() -> bool:
        nonlocal count
        count += 1
        return count >= calls

    return ask


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in module.state_dict().values()])


def train(config: Config, pack: Pack, place: Place) -> torch.Tensor:
    done = training_work(config.proxy, GENOTYPE, pack, place, phase="proxy", seed=5, scores=config.scores)
    return weights(done.generator)


def test_an_interrupted_search_ends_where_an_undisturbed_one_does(home: Path, pack: Pack, tmp_path: Path) -> None:
    config, whole, parts = tiny_config(), Notes(), Notes()
    undisturbed = search_work(config, pack, Place(home, tmp_path / "a", whole), seed=3)
    place = Place(home, tmp_path / "b", parts)
    with pytest.raises(Interrupted):
        search_work(config, pack, replace(place, should_stop=after(4)), seed=3)
    assert list((tmp_path / "b" / "search").glob("step-*.ckpt"))
    assert search_work(config, pack, place, seed=3) == undisturbed
    assert dict(parts.series("search/loss")) == dict(whole.series("search/loss"))
    assert not (tmp_path / "b" / "search").exists()


def test_an_interrupted_search_by_single_networks_ends_where_an_undisturbed_one_does(
    home: Path, pack: Pack, tmp_path: Path
) -> None:
    """Each network really is trained, and its samples judged."""
    small = {"search__networks": 5, "search__try_steps": 2, "search__samples": 10}
    config = tiny_config(search__paths="sampled", search__cost_limit=1.0, search__checkpoint_seconds=1e-9, **small)
    whole, notes = Notes(), Notes()
    undisturbed = search_work(config, pack, Place(home, tmp_path / "a", whole), seed=3)
    place = Place(home, tmp_path / "b", notes)
    with pytest.raises(Interrupted):
        search_work(config, pack, replace(place, should_stop=after(8)), seed=3)
    assert list((tmp_path / "b" / "search").glob("step-*.ckpt"))
    assert search_work(config, pack, place, seed=3) == undisturbed
    distances = [row["search/distance"] for _, row in whole.rows if "search/distance" in row]
    assert len(set(distances)) == 5
    assert distances == [row["search/distance"] for _, row in notes.rows if "search/distance" in row]


def test_a_try_as_long_as_the_proxy_is_the_proxy_judged_by_its_averaged_weights(home: Path, pack: Pack) -> None:
    """The proxy's own training, then the kernel distance of its samples; labels and milestones count for nothing."""
    proxy = {"proxy__steps": 5, "proxy__framework": "sngan", "proxy__ema": 0.9, "proxy__decay": "none"}
    config = tiny_config(search__paths="sampled", search__try_steps=5, **proxy)
    generator = build_generator(GENOTYPE, config.proxy, pack.resolution, seed=derive(7, "weights"))
    averaged = adversarial(config.proxy, generator, pack, seed=7).averaged
    assert averaged is not None
    extractor, reference = judge(config.scores, pack, home)
    distances = []
    for kept in (averaged, generator):
        images = generate(kept, config.search.samples, seed=derive(7, "samples"), batch=config.scores.batch)
        distances.append(kernel_distance(extract(images, extractor).features, reference.features))
    assert distances[0] != distances[1]
    longer = {"proxy__steps": 9, "proxy__supervised": True, "proxy__milestones": (0.5,)}
    for more in ({}, longer):
        tried = make_try(tiny_config(search__paths="sampled", search__try_steps=5, **(proxy | more)), pack, home)
        assert tried(GENOTYPE, 7) == distances[0]


def test_an_interrupted_training_ends_where_an_undisturbed_one_does(home: Path, pack: Pack, tmp_path: Path) -> None:
    config, whole, parts = tiny_config(proxy__milestones=(0.5,)), Notes(), Notes()
    undisturbed = train(config, pack, Place(home, tmp_path / "a", whole))
    place = Place(home, tmp_path / "b", parts)
    with pytest.raises(Interrupted):
        train(config, pack, replace(place, should_stop=after(5)))
    assert torch.equal(train(config, pack, place), undisturbed)
    for name in ("proxy/critic_loss", "proxy/milestone_fid"):
        assert parts.series(name) == whole.series(name)
    assert sorted(set(parts.names)) == sorted(whole.names)


def test_finished_work_is_not_done_again(home: Path, pack: Pack, tmp_path: Path) -> None:
    config = tiny_config()
    first, again = Notes(), Notes()
    found = search_work(config, pack, Place(home, tmp_path, first), seed=3)
    trained = train(config, pack, Place(home, tmp_path, first))
    assert search_work(config, pack, Place(home, tmp_path, again), seed=99) == found
    assert torch.equal(train(config, pack, Place(home, tmp_path, again)), trained)
    assert again.rows == []


def test_scores_are_measured_once_and_say_how(home: Path, pack: Pack, tmp_path: Path) -> None:
    config, notes = tiny_config(), Notes()
    place = Place(home, tmp_path, notes)
    done = training_work(config.proxy, GENOTYPE, pack, place, phase="proxy", seed=5, scores=config.scores)
    scores = scoring_work(done.generator, config.scores, pack, place, phase="proxy", seed=5, step=6)
    assert scores.protocol.n_fake == scores.protocol.n_real == 20
    assert notes.series("proxy/fid") == [(6, scores.fid)]
    assert notes.facts["degas.scores"] == scores.sentence()
    assert json.loads(notes.facts["degas.scores_protocol"])["n_fake"] == 20
    assert "FID" not in scores.sentence()
    other = training_work(
        config.proxy, Space().random(2), pack, Place(home, tmp_path / "o", Notes()), phase="proxy", seed=6,
        scores=config.scores,
    )  # fmt: skip
    assert scoring_work(other.generator, config.scores, pack, place, phase="proxy", seed=5, step=6) == scores


def test_an_interrupted_scoring_is_begun_again(home: Path, pack: Pack, tmp_path: Path) -> None:
    config = tiny_config()
    place = Place(home, tmp_path, Notes())
    done = training_work(config.proxy, GENOTYPE, pack, place, phase="proxy", seed=5, scores=config.scores)
    with pytest.raises(Interrupted, match="stopped in score"):
        scoring_work(
            done.generator, config.scores, pack, replace(place, should_stop=after(2)), phase="proxy", seed=5, step=6
        )
    assert not (tmp_path / "scores.json").exists()


def test_sample_grids_come_at_the_same_steps_whatever_happened(home: Path, pack: Pack, tmp_path: Path) -> None:
    notes = Notes()
    config = tiny_config(proxy__steps=20)
    train(config, pack, Place(home, tmp_path, notes))
    grids = [name for name in notes.names if name.startswith("samples-")]
    # The start, and eight points over 20 steps, each at the first step that has reached it: 20 k / 8 rounded up.
    assert grids == [f"samples-{step}" for step in (0, 3, 5, 8, 10, 13, 15, 18, 20)]


def test_a_search_leaves_what_explains_it(home: Path, pack: Pack, tmp_path: Path) -> None:
    notes = Notes()
    found = search_work(tiny_config(), pack, Place(home, tmp_path, notes), seed=3)
    assert {"alphas.png", "alphas.json", "genotypes.jsonl", "diagram.png", "diagram.svg"} <= set(notes.names)
    assert Genotype.parse(notes.facts["degas.genotype"]) == found.genotype
    assert notes.facts["degas.genotype_hash"] == found.genotype.hash


def test_a_damaged_checkpoint_costs_one_interval(home: Path, pack: Pack, tmp_path: Path) -> None:
    config = tiny_config()
    undisturbed = train(config, pack, Place(home, tmp_path / "a", Notes()))
    place = Place(home, tmp_path / "b", Notes())
    with pytest.raises(Interrupted):
        train(config, pack, replace(place, should_stop=after(5)))
    files = sorted((tmp_path / "b" / "proxy").glob("step-*.ckpt"))
    assert len(files) == 2
    files[-1].write_bytes(files[-1].read_bytes()[:100])
    with pytest.warns(match="skipped a checkpoint"):
        assert torch.equal(train(config, pack, place), undisturbed)
