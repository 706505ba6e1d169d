"""The loop: exact resume, decay, averaging, guards, collapse, labels."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from degas_ray import checkpoint
from degas_ray.checkpoint import State
from degas_ray.config import TrainConfig
from degas_ray.data import Pack
from degas_ray.errors import CheckpointError, DivergedError, InputError, Interrupted
from degas_ray.gan import FRAMEWORKS, TrainResult, build_generator, train
from degas_ray.gan.collapse import CollapseWatch, diversity, nearest
from degas_ray.gan.critic import Critic
from degas_ray.gan.frameworks import Fakes, Terms
from degas_ray.gan.trainer import Trainer
from degas_ray.loop import Progress


def variant(settings: TrainConfig, **changes: object) -> TrainConfig:
    return TrainConfig.model_validate(settings.model_dump() | changes)


def run(config: TrainConfig, pack: Pack, *, classes: int = 0, **options: object) -> TrainResult:
    generator = build_generator("degas-cifar10", config, pack.resolution, classes)
    return train(config, generator, pack, seed=3, **options)  # type: ignore[arg-type]


def weights(result: TrainResult) -> dict[str, Tensor]:
    return {**result.generator.state_dict(), **{f"averaged {k}": v for k, v in result.averaged.state_dict().items()}}


# The stop, after step 3, is at a report (every step) or between two (every second step).
@pytest.mark.parametrize(
    ("name", "supervised", "every"),
    [*((name, False, 1) for name in FRAMEWORKS), ("ctgan", True, 2), ("sngan", True, 1), ("r3gan", True, 1)],
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    tmp_path: Path,
    pack: Pack,
    settings: TrainConfig,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    supervised: bool,
    every: int,
) -> None:
    monkeypatch.setattr("degas_ray.gan.trainer.log_every", lambda _steps: every)
    config = variant(settings, framework=name, supervised=supervised, ema=0.9, clip=1.0, label_rate=3.0)
    classes = 3 if supervised else 0
    whole = run(config, pack, classes=classes)
    seen: list[Progress] = []
    stop = iter([False, False, True]).__next__
    with pytest.raises(Interrupted, match="stopped after generator step 3 of 4"):
        run(
            config,
            pack,
            classes=classes,
            on_progress=seen.append,
            should_stop=stop,
        )
    checkpoint.save(tmp_path / "t.ckpt", seen[-1].state(), "train")
    torch.manual_seed(99)  # the global state has no say
    rest = run(config, pack, classes=classes, resume=checkpoint.load(tmp_path / "t.ckpt", "train"))
    assert rest.history == whole.history
    expected, found = weights(whole), weights(rest)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_critic_and_both_optimizers_resume_too(pack: Pack, settings: TrainConfig) -> None:
    generator = build_generator("resnet", settings, 8)
    one = Trainer(settings, generator, pack, 0)
    one.advance()
    state = one.state()
    one.advance()
    other = Trainer(settings, build_generator("resnet", settings, 8, seed=5), pack, 0)
    other.restore(state)
    other.advance()
    first, second = one.state(), other.state()
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(first.tensors[key], second.tensors[key]) for key in first.tensors)
    assert first.meta == second.meta


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"critic_width": 5}, "written with critic_width=5, this training has critic_width=4"),
        ({"steps": 9}, "written with steps=9, this training has steps=4"),
        ({"lr": 0.5}, "written with lr=0.5, this training has lr=0.001"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    pack: Pack, settings: TrainConfig, change: dict[str, object], sentence: str
) -> None:
    other = variant(settings, **change)
    state = Trainer(other, build_generator("resnet", other, 8), pack, 3).state()
    with pytest.raises(CheckpointError, match=sentence):
        run(settings, pack, resume=state)


def test_a_checkpoint_of_another_seed_genotype_or_kind_is_refused(pack: Pack, settings: TrainConfig) -> None:
    with pytest.raises(CheckpointError, match="written with seed=4, this training has seed=3"):
        run(settings, pack, resume=Trainer(settings, build_generator("resnet", settings, 8), pack, 4).state())
    with pytest.raises(CheckpointError, match="does not fit this generator"):
        run(settings, pack, resume=Trainer(settings, build_generator("resnet", settings, 8), pack, 3).state())
    with pytest.raises(CheckpointError, match="no checkpoint of a training"):
        run(settings, pack, resume=State())


def test_device_and_milestones_may_change_on_resume(pack: Pack, settings: TrainConfig) -> None:
    generator = build_generator("degas-cifar10", settings, 8)
    state = Trainer(settings, generator, pack, 3).state()
    assert run(variant(settings, milestones=(0.5,), device="auto"), pack, resume=state).outcome == "completed"


def test_a_training_that_is_stopped_at_its_last_step_has_ended(pack: Pack, settings: TrainConfig) -> None:
    stop = iter([False, False, False, True]).__next__
    assert run(settings, pack, should_stop=stop).history == run(settings, pack).history


def test_the_same_seed_repeats_and_another_does_not(pack: Pack, settings: TrainConfig) -> None:
    first, second = run(settings, pack), run(settings, pack)
    assert first.history == second.history
    other = train(settings, build_generator("degas-cifar10", settings, 8), pack, seed=4)
    assert other.history != first.history


def test_rates_fall_linearly_and_adam_has_the_configured_betas(pack: Pack, settings: TrainConfig) -> None:
    loop = Trainer(variant(settings, lr=0.4, critic_lr=0.2), build_generator("resnet", settings, 8), pack, 0)
    rates = []
    for _ in range(4):
        loop.advance()
        rates.append((loop.generator_adam.param_groups[0]["lr"], loop.critic_adam.param_groups[0]["lr"]))
    assert rates == [pytest.approx((0.4 * share, 0.2 * share)) for share in (1, 0.75, 0.5, 0.25)]
    assert loop.generator_adam.param_groups[0]["betas"] == loop.critic_adam.param_groups[0]["betas"] == (0.0, 0.9)
    constant = Trainer(variant(settings, decay="none"), build_generator("resnet", settings, 8), pack, 0)
    for _ in range(2):
        constant.advance()
    assert constant.critic_adam.param_groups[0]["lr"] == settings.critic_lr


def test_what_has_an_end_moves_towards_it(pack: Pack, settings: TrainConfig) -> None:
    ends = {"gamma": 2.0, "gamma_end": 1.0, "betas": (0.0, 0.9), "beta2_end": 0.98, "decay_to": 0.2, "steps": 4}
    config = variant(settings, lr=1e-3, critic_lr=2e-3, decay="cosine", **ends)
    trainer = Trainer(config, build_generator("resnet", config, 8), pack, 0)
    for done in ((1 - np.cos(np.pi * share)) / 2 for share in (0, 0.25, 0.5, 0.75)):
        trainer.advance()
        for adam, rate in ((trainer.generator_adam, 1e-3), (trainer.critic_adam, 2e-3)):
            assert adam.param_groups[0]["lr"] == pytest.approx(rate * (1 - 0.8 * done))
            assert adam.param_groups[0]["betas"] == pytest.approx((0.0, 0.9 + 0.08 * done))
        assert trainer.now.gamma == pytest.approx(2 - done)


def test_pairs_are_of_the_critic_s_last_images_and_labels(
    pack: Pack, settings: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Fakes] = []
    framework = FRAMEWORKS["r3gan"]

    def loss(critic: Critic, fakes: Fakes, *rest: object) -> Terms:
        seen.append(fakes)
        return framework.generator_loss(critic, fakes, *rest)  # type: ignore[arg-type]

    monkeypatch.setitem(FRAMEWORKS, "r3gan", replace(framework, generator_loss=loss))
    config = variant(settings, framework="r3gan", supervised=True, batch=4, generator_batch=8)
    trainer = Trainer(config, build_generator("resnet", config, 8, 3), pack, 0)
    trainer.advance()
    (fakes,) = seen
    assert fakes.real is not None
    assert torch.equal(fakes.real, trainer._real.repeat_interleave(2, 0))
    assert trainer._labels is not None
    assert torch.equal(fakes.labels, trainer._labels.repeat_interleave(2, 0))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_compiled_step_is_the_plain_one(pack: Pack, settings: TrainConfig, name: str, precision: str) -> None:
    """On a CPU the compiler traces and runs the same operations, so a step is the same within the order of sums."""
    weights_of = []
    for compiled in ("off", "on"):
        config = variant(settings, framework=name, precision=precision, compile=compiled, decay="linear", gamma_end=0.1)
        trainer = Trainer(config, build_generator("degas-cifar10", config, 8), pack, 0)
        trainer.advance()
        trainer.advance()
        weights_of.append(
            torch.cat([p.flatten() for p in (*trainer.critic.parameters(), *trainer.generator.parameters())])
        )
        assert all(np.isfinite(value) for value in trainer.metrics().values())
    assert (weights_of[0] - weights_of[1]).norm() <= 1e-3 * weights_of[0].norm()


def test_a_step_is_so_many_critic_steps_and_one_of_the_generator(pack: Pack, settings: TrainConfig) -> None:
    loop = Trainer(variant(settings, critic_steps=3), build_generator("resnet", settings, 8), pack, 0)
    before = copy.deepcopy(loop.critic.state_dict())
    loop.advance()
    assert next(iter(loop.critic_adam.state.values()))["step"] == 3
    assert next(iter(loop.generator_adam.state.values()))["step"] == 1
    assert loop.batches.position["batch"] == 3
    assert not torch.equal(loop.critic.score.weight, before["score.weight"])


def test_the_first_adam_step_by_hand(pack: Pack, settings: TrainConfig) -> None:
    """With beta1 = 0 the first step is lr * g / (|g| + eps): every weight moves by the rate, against its gradient."""
    loop = Trainer(variant(settings, critic_steps=1, critic_lr=0.01), build_generator("resnet", settings, 8), pack, 0)
    before = loop.critic.score.weight.detach().clone()
    loop.advance()
    moved, gradient = loop.critic.score.weight.detach() - before, loop.critic.score.weight.grad
    assert gradient is not None
    assert torch.allclose(moved, -0.01 * gradient.sign(), rtol=1e-3)


def test_class_scales_and_shifts_have_their_own_rate(pack: Pack, settings: TrainConfig) -> None:
    config = variant(settings, supervised=True, lr=0.01, label_rate=5.0, generator_batch=60)
    loop = Trainer(config, build_generator("degas-cifar10", config, 8, 3), pack, 0)
    before = {name: p.detach().clone() for name, p in loop.generator.named_parameters()}
    loop.advance()
    for name, parameter in loop.generator.named_parameters():
        largest = (parameter.detach() - before[name]).abs().max().item()
        assert largest == pytest.approx(0.05 if name.endswith(("scale", "shift")) else 0.01, rel=1e-2), name
    loop.advance()  # at three quarters of both
    assert [group["lr"] for group in loop.generator_adam.param_groups] == pytest.approx([0.0075, 0.0375])
    assert [group["lr"] for group in loop.critic_adam.param_groups] == pytest.approx([0.00075])


def test_the_critic_sees_dequantised_pixels(pack: Pack, settings: TrainConfig) -> None:
    """CT-GAN's code: 2 (x / 256 - 1 / 2) + U[0, 1 / 128), so each of 256 levels fills an equal part of [-1, 1]."""
    loop = Trainer(settings, build_generator("resnet", settings, 8), pack, 0)
    loop.advance()
    levels = (loop._real.double().numpy() + 1) * 128
    whole = np.floor(levels)
    stored = {image.tobytes() for image in pack.images}
    assert all(image.transpose(1, 2, 0).astype(np.uint8).tobytes() in stored for image in whole)
    assert stats.kstest((levels - whole).flatten(), "uniform").pvalue > 0.001


def test_averaged_weights_by_hand(pack: Pack, settings: TrainConfig) -> None:
    loop = Trainer(variant(settings, ema=0.75), build_generator("resnet", settings, 8), pack, 0)
    expected = loop.generator.linear.weight.detach().numpy().copy()
    for kept in (1 / 10, 2 / 11, 3 / 12):  # a short memory at first: step / (step + 9), as far as ema allows
        loop.advance()
        expected = kept * expected + (1 - kept) * loop.generator.linear.weight.detach().numpy()
    assert loop.averaged is not None
    assert np.allclose(loop.averaged.linear.weight.numpy(), expected, atol=1e-6)
    assert not loop.averaged.training
    loop.step = 100  # 100 / 109 would be more than ema
    loop._average(loop.averaged)
    expected = 0.75 * expected + 0.25 * loop.generator.linear.weight.detach().numpy()
    assert np.allclose(loop.averaged.linear.weight.numpy(), expected, atol=1e-6)


def test_no_average_unless_asked(pack: Pack, settings: TrainConfig) -> None:
    assert run(settings, pack).averaged is None


def test_gradients_are_clipped_where_asked(pack: Pack, settings: TrainConfig) -> None:
    loop = Trainer(variant(settings, clip=1e-3), build_generator("resnet", settings, 8), pack, 0)
    loop.advance()
    norms = [p.grad.norm() for p in loop.critic.parameters() if p.grad is not None]
    assert torch.stack(norms).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_reports_come_at_their_steps_with_finite_numbers(pack: Pack, settings: TrainConfig) -> None:
    seen: list[Progress] = []
    result = run(variant(settings, steps=5), pack, on_progress=seen.append)
    assert [(p.phase, p.step, p.steps) for p in seen] == [("train", step, 5) for step in range(1, 6)]
    names = {"critic_loss", "generator_loss", "wasserstein", "penalty", "consistency", "diversity", "lr"}
    assert all(set(p.metrics) == names and np.isfinite(list(p.metrics.values())).all() for p in seen)
    assert result.history == [{"step": p.step, **p.metrics} for p in seen]
    assert result.outcome == "completed"
    assert result.collapsed_at is None
    assert not result.generator.training


def test_a_non_finite_loss_stops_the_training_and_names_the_step(pack: Pack, settings: TrainConfig) -> None:
    config = variant(settings, steps=50)
    generator = build_generator("degas-cifar10", config, 8)

    def poison(progress: Progress) -> None:
        if progress.step == 2:
            with torch.no_grad():
                generator.linear.weight.fill_(torch.nan)

    with pytest.raises(DivergedError, match=r"diverged at generator step 3 of 50: .*nan.*lower lr and critic_lr"):
        train(config, generator, pack, seed=0, on_progress=poison)


class Constant(nn.Module):
    """A generator that has collapsed: one image, whatever the latent."""

    latent_dim, resolution, num_classes = 8, 8, 0

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.zeros(1, 3, 8, 8))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.tanh(self.image).expand(len(z), -1, -1, -1)


def test_a_constant_generator_is_called_collapsed_from_the_first_report(pack: Pack, settings: TrainConfig) -> None:
    result = train(settings, Constant(), pack, seed=0)
    assert (result.outcome, result.collapsed_at) == ("collapsed", 1)
    assert all(row["diversity"] == 0 for row in result.history)


def test_collapse_begins_with_the_last_run_of_low_reports() -> None:
    watch = CollapseWatch()
    for step, value in enumerate((0.5, 0.01, 0.02, 0.6, 0.05, 0.0, 0.09), start=1):
        watch.see(step, value)
        assert watch.collapsed_at == (5 if step == 7 else None)
    watch.see(8, 0.1)
    assert watch.collapsed_at is None


def test_diversity_is_that_of_features() -> None:
    torch.manual_seed(0)
    critic, real = Critic(8, width=4).train(), torch.randn(12, 3, 8, 8)
    assert diversity(critic, real, real) == pytest.approx(1)
    assert diversity(critic, real, real[:3].repeat(4, 1, 1, 1)) == 0  # three modes are no more than one
    assert diversity(critic, real, torch.zeros_like(real)) == 0
    assert critic.training
    assert nearest(torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]])).item() == 1


def test_labels_of_generated_images_are_the_real_ones_then_uniform(pack: Pack, settings: TrainConfig) -> None:
    config = variant(settings, supervised=True, critic_steps=1, batch=30, generator_batch=300)
    generator = build_generator("resnet", config, 8, num_classes=3)
    asked: list[Tensor] = []
    generator.register_forward_pre_hook(lambda _module, inputs: asked.append(inputs[1]))
    loop = Trainer(config, generator, pack, 0)
    again = Trainer(config, copy.deepcopy(generator), pack, 0).batches
    loop.advance()
    assert torch.equal(asked[0], again.next().labels)
    assert asked[1].shape == (300,)
    assert (asked[1].bincount() > 60).all()
    assert "classification" in loop.report()


def test_labels_are_left_alone_unless_the_generator_is_conditional(pack: Pack, settings: TrainConfig) -> None:
    assert "classification" not in run(settings, pack).history[-1]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_precision(pack: Pack, settings: TrainConfig, precision: str) -> None:
    result = run(variant(settings, precision=precision), pack)
    assert next(result.generator.parameters()).dtype == torch.float32
    assert np.isfinite([value for row in result.history for value in row.values()]).all()


def test_what_does_not_fit_is_refused(pack: Pack, settings: TrainConfig) -> None:
    with pytest.raises(InputError, match="makes 16x16 images and striped holds 8x8 ones"):
        train(settings, build_generator("resnet", settings, 16), pack, seed=0)
    with pytest.raises(InputError, match="conditional on 5 classes and striped has 3 labelled ones"):
        train(settings, build_generator("resnet", settings, 8, 5), pack, seed=0)
    with pytest.raises(InputError, match="supervised: got a generator without classes"):
        run(variant(settings, supervised=True), pack)


def test_the_global_random_state_is_not_touched(pack: Pack, settings: TrainConfig) -> None:
    generator = build_generator("resnet", settings, 8)
    loop = Trainer(settings, generator, pack, 0)
    state = torch.get_rng_state()
    loop.advance()
    loop.report()
    assert torch.equal(torch.get_rng_state(), state)
