from hypothesis import given
from hypothesis import strategies as st

from degas_ray.seeds import derive

names = st.lists(st.text(max_size=5) | st.integers(0, 1000), min_size=1, max_size=3)


def test_a_seed_is_the_same_on_every_machine() -> None:
    # sha256("0" + "\x1f" + "trial" + "\x1f" + "1"), its first eight bytes, one bit dropped; worked out with sha256sum.
    assert derive(0, "trial", 1) == 0x676405021DCABEB3


@given(st.integers(0, 2**63 - 1), names)
def test_seeds_fit_everything_that_takes_one(seed: int, path: list[str | int]) -> None:
    assert 0 <= derive(seed, *path) < 2**63


def test_other_names_and_other_parents_give_other_seeds() -> None:
    seeds = {derive(parent, kind, number) for parent in range(3) for kind in ("trial", "proxy") for number in range(50)}
    assert len(seeds) == 300


def test_names_do_not_run_together() -> None:
    assert derive(0, "ab", "c") != derive(0, "a", "bc")
