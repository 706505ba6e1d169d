"""Workers that share a batch against one worker that has it alone: real processes, gloo."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from striped import striped_pack
from torch import Tensor, nn

from degas_ray.checkpoint import State
from degas_ray.config import TrainConfig
from degas_ray.errors import DivergedError, InputError, Interrupted
from degas_ray.gan import FRAMEWORKS, build_generator, train
from degas_ray.gan.critic import Forward
from degas_ray.gan.group import Group, Noise, uniform_like
from degas_ray.gan.trainer import Trainer
from degas_ray.loop import Progress
from degas_ray.space.operations import ConditionalBatchNorm2d

SMALL = {
    "width": 4, "critic_width": 4, "latent_dim": 8, "steps": 3, "batch": 8, "generator_batch": 12, "device": "cpu"
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    **{name: {"framework": name} for name in FRAMEWORKS},
    "supervised": {"supervised": True, "ema": 0.5, "clip": 1.0, "label_rate": 3.0},
}
# Adam divides by a gradient's size, so it makes much of the rounding of gradients that should be zero; what it is given
# is compared far more closely below.
ROUNDING = {"rtol": 5e-3, "atol": 5e-3}


def config_of(case: str) -> TrainConfig:
    return TrainConfig.model_validate(SMALL | CASES[case])


def trained(case: str, group: Group | None = None, **options: Any) -> dict[str, Any]:
    config = config_of(case)
    generator = build_generator("degas-cifar10", config, 8, 3 if config.supervised else 0)
    result = train(config, generator, striped_pack(), seed=3, group=group, **options)
    z, labels = torch.randn((50, 8), generator=torch.Generator().manual_seed(7)), torch.arange(50) % 3
    with torch.no_grad():
        images = [m(z, labels if config.supervised else None) for m in (result.generator, result.averaged) if m]
    return {"history": result.history, "images": images}


def first_gradients(case: str, group: Group | None = None) -> dict[str, Tensor]:
    config = config_of(case)
    generator = build_generator("degas-cifar10", config, 8, 3 if config.supervised else 0)
    loop = Trainer(config.model_copy(update={"critic_steps": 1}), generator, striped_pack(), 3, group)
    loop._critic_step()
    critic = {f"critic.{name}": p.grad.clone() for name, p in loop.critic.named_parameters()}
    loop.critic.load_state_dict(loop.critic.state_dict())
    loop._generator_step()
    return critic | {f"generator.{name}": p.grad.clone() for name, p in generator.named_parameters()}


def stops(rank: int) -> list[int]:
    """Where a training ends that the second worker alone is told to stop."""
    seen: list[Progress] = []
    try:
        trained("sngan", Group.joined(), should_stop=lambda: rank == 1, on_progress=seen.append)
    except Interrupted:
        return [progress.step for progress in seen]
    return []


def resumed(group: Group | None) -> dict[str, Any]:
    """Two steps alone, the rest by whoever this is."""
    states: list[State] = []
    whole = trained("ctgan", on_progress=lambda progress: states.append(progress.state()))
    return {"whole": whole, "rest": trained("ctgan", group, resume=states[1])}


def poisoned(rank: int) -> str:
    """What a worker says when the other one's images are not finite."""
    config = config_of("wgan-gp")
    generator = build_generator("resnet", config, 8)
    loop = Trainer(config, generator, striped_pack(), 3, Group.joined())
    if rank == 1:
        generator.register_forward_hook(lambda _module, _inputs, images: images * torch.nan)
    try:
        loop.advance()
    except DivergedError as error:
        return str(error)
    return ""


def normalised(group: Group | None) -> dict[str, Tensor]:
    """A batch through both norms, forwards and backwards, in float64."""
    group, torch_state = group or Group(), torch.Generator().manual_seed(5)
    x = torch.randn((6, 4, 3, 3), generator=torch_state, dtype=torch.float64) * 3 + 100
    slope = torch.randn(x.shape, generator=torch_state, dtype=torch.float64)
    labels, found = torch.tensor([0, 1, 2, 2, 1, 0]), {}
    for name, norm in (("plain", nn.BatchNorm2d(4)), ("conditional", ConditionalBatchNorm2d(4, 3))):
        norm.double()
        with torch.no_grad():
            for number, parameter in enumerate(norm.parameters()):
                parameter.add_(0.1 * torch.arange(parameter.numel()).view(parameter.shape) + number)
        own = group.own(x).clone().requires_grad_()
        with group.whole_batch_statistics(norm):
            y = norm(own) if name == "plain" else norm(own, group.own(labels))
        (y * group.own(slope)).sum().backward()
        found |= {f"{name} output": group.gather(y.detach()), f"{name} slope": group.gather(own.grad)}
        found |= {f"{name} {key}": value.double() for key, value in norm.named_buffers()}
        for key, parameter in norm.named_parameters():
            (mean,) = group.mean([parameter.grad])
            found[f"{name} d{key}"] = mean * group.workers
        assert "forward" not in vars(norm)
    return found


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    group = Group.joined()
    found = {
        "trained": {case: trained(case, group) for case in CASES},
        "gradients": {case: first_gradients(case, group) for case in CASES},
        "normalised": normalised(group),
        "stops": stops(rank),
        "resumed": resumed(group)["rest"],
        "poisoned": poisoned(rank),
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pair")
    mp.spawn(worker, (str(folder),), nprocs=2)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_workers_have_the_gradients_of_one(pair: list[dict[str, Any]], case: str) -> None:
    alone, found = first_gradients(case), pair[0]["gradients"][case]
    assert alone.keys() == found.keys()
    for name, gradient in alone.items():
        scale = gradient.abs().max()
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-4 * float(scale) + 1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_workers_train_as_one(pair: list[dict[str, Any]], case: str) -> None:
    alone, found = trained(case), pair[0]["trained"][case]
    for own, expected in zip(found["history"], alone["history"], strict=True):
        assert own == {key: pytest.approx(value, rel=1e-2, abs=1e-2) for key, value in expected.items()}
    assert len(found["images"]) == len(alone["images"])
    assert all(torch.allclose(a, b, **ROUNDING) for a, b in zip(found["images"], alone["images"], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_workers_end_with_the_same_bits(pair: list[dict[str, Any]], case: str) -> None:
    first, second = (rank["trained"][case] for rank in pair)
    assert first["history"] == second["history"]
    assert all(torch.equal(a, b) for a, b in zip(first["images"], second["images"], strict=True))


@pytest.mark.slow
def test_normalisation_has_the_statistics_of_the_whole_batch(pair: list[dict[str, Any]]) -> None:
    alone = normalised(None)
    for found in pair:
        assert found["normalised"].keys() == alone.keys()
        assert all(torch.allclose(found["normalised"][key], alone[key], rtol=1e-9, atol=1e-9) for key in alone)


@pytest.mark.slow
def test_one_worker_s_wish_to_stop_stops_both(pair: list[dict[str, Any]]) -> None:
    assert [rank["stops"] for rank in pair] == [[1], [1]]


@pytest.mark.slow
def test_a_checkpoint_of_one_worker_is_gone_on_with_by_two(pair: list[dict[str, Any]]) -> None:
    alone = resumed(None)
    assert alone["rest"]["history"] == alone["whole"]["history"]
    for rank in pair:
        assert all(
            torch.allclose(a, b, **ROUNDING)
            for a, b in zip(rank["resumed"]["images"], alone["whole"]["images"], strict=True)
        )


@pytest.mark.slow
def test_all_workers_see_what_diverges_in_one(pair: list[dict[str, Any]]) -> None:
    assert pair[0]["poisoned"] == pair[1]["poisoned"]
    assert "diverged at generator step 1 of 3" in pair[0]["poisoned"]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_numbers_of_workers_are_those_of_one_in_the_rows_of_each_batch(layout: torch.memory_format) -> None:
    whole = torch.empty(3 * 8, 5, 2, 2).to(memory_format=layout)  # three batches of eight
    alone = uniform_like(whole, Noise().manual_seed(1))
    parts = []
    for rank in range(4):
        noise = Noise(rank=rank, workers=4)
        noise.manual_seed(1)
        noise.rows = 2
        parts.append(uniform_like(torch.empty(3 * 2, 5, 2, 2).to(memory_format=layout), noise))
        assert parts[-1].is_contiguous(memory_format=layout)
    together = torch.stack([part.view(3, 2, 5, 2, 2) for part in parts], 1)
    assert torch.equal(together.flatten(0, 2), alone)
    assert torch.equal(Forward(Noise().manual_seed(1)).mask(whole, 0.5), alone.ge(0.5).float() * 2)


def test_batches_that_cannot_be_shared_are_refused() -> None:
    config = TrainConfig.model_validate(SMALL)
    generator = build_generator("resnet", config, 8)
    with pytest.raises(InputError, match="batch: got 8 for 3 workers, expected a multiple of 3, such as 9"):
        train(config, generator, striped_pack(), seed=0, group=Group(0, 3))
