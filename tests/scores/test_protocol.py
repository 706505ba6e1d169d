"""Protocols: what may be ranked, and what a score is called before a person."""

from dataclasses import asdict, fields, replace

import pytest

from degas_ray.errors import InputError
from degas_ray.scores import Protocol, Scores, comparable, differences

PROTOCOL = Protocol(
    extractor="efficientnet-lite0",
    weights_hash="579344248a93e230",
    resizer="clean-bicubic-64",
    n_fake=1000,
    n_real=1000,
    splits=10,
    reference="0123456789abcdef",
    bn="batch",
    checkpoint="last",
    method=1,
    seed=0,
    version="0.1.0",
)
FID = replace(
    PROTOCOL, extractor="inception", weights_hash="f58cb9b6ec323ed6", resizer="clean-bicubic-299", n_fake=50_000
)
SCORES = Scores(823.4, 0.1, 7.9, 0.2, 0.5, 0.4, 0.9, 0.8, PROTOCOL)


@pytest.mark.parametrize("name", [field.name for field in fields(Protocol)])
def test_every_field_keeps_scores_apart_but_seed_and_version(name: str) -> None:
    value = getattr(PROTOCOL, name)
    other = replace(PROTOCOL, **{name: value + 1 if isinstance(value, int) else value + "x"})
    if name in {"seed", "version"}:
        assert comparable(PROTOCOL, other)
        assert other.hash == PROTOCOL.hash
        assert differences(PROTOCOL, other) == ()
        return
    assert not comparable(PROTOCOL, other)
    assert other.hash != PROTOCOL.hash
    assert differences(PROTOCOL, other) == (f"{name}: {value}, {getattr(other, name)}",)


def test_all_differences_are_named() -> None:
    assert differences(PROTOCOL, replace(PROTOCOL, n_fake=500, bn="running", seed=3)) == (
        "n_fake: 1000, 500",
        "bn: batch, running",
    )


def test_hash_is_stable() -> None:
    assert PROTOCOL.hash == "2ae74a7e2644"


def test_only_inception_s_distance_is_called_fid() -> None:
    assert SCORES.sentence() == (
        "Fréchet distance 823 (efficientnet-lite0 features, 1,000 samples against 1,000 real images)"
    )
    published = replace(SCORES, fid=12.014, protocol=FID)
    assert published.sentence() == "FID 12.01 (50,000 samples against 1,000 real images)"
    other = replace(published, protocol=replace(FID, weights_hash="00" * 8))
    assert other.sentence() == (
        "Fréchet distance 12.01 (inception features of other weights, 0000000000000000, "
        "50,000 samples against 1,000 real images)"
    )


def test_json_reads_back() -> None:
    value = SCORES.to_json()
    assert Scores.from_json(value) == SCORES
    assert value["protocol_hash"] == PROTOCOL.hash
    assert list(SCORES.metrics()) == ["fid", "kid", "is_mean", "is_std", "precision", "recall", "density", "coverage"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "got a list for scores"),
        ({}, "these scores lack fid, kid"),
        ({**SCORES.metrics(), "fid": "12"}, "these scores lack fid;"),
        (SCORES.metrics(), "got a NoneType for a score's protocol"),
        ({**SCORES.metrics(), "protocol": {**asdict(PROTOCOL), "n_fake": "1000"}}, "protocol lacks n_fake;"),
        ({**SCORES.metrics(), "protocol": {**asdict(PROTOCOL), "n_fake": True}}, "protocol lacks n_fake;"),
    ],
)
def test_other_json_is_refused(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Scores.from_json(value)
