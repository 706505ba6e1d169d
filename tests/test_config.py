"""Settings: laid over each other in order, all faults at once, and read back as they were written."""

import itertools
from typing import get_args

import pytest
import yaml

from degas_ray.config import (
    FRAMEWORK,
    RECIPES,
    Config,
    TrainConfig,
    dump,
    flatten,
    from_tree,
    identity,
    known_keys,
    resolve,
)
from degas_ray.errors import ConfigError, InputError
from degas_ray.gan import FRAMEWORKS


def changed(config):
    return {key for key, value in flatten(config).items() if flatten(Config())[key] != value}


def test_the_defaults_are_valid_and_read_back():
    config = resolve()
    labels = {"auxiliary_critic", "auxiliary_generator", "label_rate"}  # the classes have the paper's
    recipe = {"framework", "critic_steps", "batch", "generator_batch", "lr", "critic_lr", "decay", "ema", "steps"}
    differing = {f"{phase}.{key}" for phase in ("proxy", "full") for key in labels | recipe}
    differing |= {"study.rerank.top"}
    assert changed(config) == differing
    ours = {"paths", "cost", "cost_limit"}
    assert changed(resolve(sets=["search.paths=sampled"])) == differing | {f"search.{key}" for key in ours}
    assert from_tree(yaml.safe_load(dump(config))) == config


def test_the_way_to_search_is_the_datasets_own_unless_it_is_named():
    own, asked = resolve(sets=["dataset=photos"]).search, resolve(sets=["dataset=photos", "search.paths=mixed"]).search
    assert (own.paths, own.cost_limit, asked.paths, asked.cost_limit) == ("sampled", 1.0, "mixed", None)
    assert resolve().search.paths == "mixed"


def test_layers_override_in_order(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("dataset: photos\nsearch: {steps: 7, width: 9}\n")
    config = resolve(file, ["search.width=5"], {"search.batch": 3, "seed": None})
    assert (config.search.steps, config.search.width, config.search.batch, config.seed) == (7, 5, 3, 0)
    assert config.proxy.latent_dim == 128  # from the dataset's own defaults


def test_part_of_the_full_training_keeps_its_own_defaults():
    assert resolve(sets=["full.width=8"]).full.steps == resolve().full.steps != resolve().proxy.steps


def test_all_faults_come_at_once_by_dotted_path():
    with pytest.raises(ConfigError) as caught:
        resolve(sets=["search.widht=3", "search.lr=fast", "proxy.steps=-1", "nonsense=1", "scores.samples=1"])
    said = str(caught.value)
    assert said.startswith("5 faults")
    assert "search.widht: no such key; did you mean search.width?" in said
    assert "search.lr: got 'fast', expected a valid number" in said
    assert "proxy.steps: got -1, expected greater than or equal to 1" in said
    assert "scores.samples: got 1" in said


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("serach=3", "serach: no such key; did you mean search"),
        ("serach.steps=3", "serach.steps: no such key; did you mean search.steps?"),
        ("serach={steps: 3, width: 8}", "serach: no such key; did you mean search?"),
        ("study.bugdet.hours=3", "study.bugdet.hours: no such key; did you mean study.budget.hours?"),
        ("study.bugdet={hours: 3, dollars: 1}", "study.bugdet: no such key; did you mean study.budget?"),
        ("a=&a {b: *a}", "a.b: no such key; see 'degas-ray tune --dry-run'"),
    ],
)
def test_a_misspelt_section_is_answered_by_what_was_meant_in_it(text, fault):
    with pytest.raises(ConfigError) as caught:
        resolve(sets=[text])
    assert fault in str(caught.value)


def test_unknown_operations_are_named():
    with pytest.raises(ConfigError, match="conv_9x9"):
        resolve(sets=["search.normal_ops=[conv_9x9]"])


@pytest.mark.parametrize(("given", "meant"), [("on", "on"), ("off", "off"), ("auto", "auto")])
def test_on_and_off_are_words_not_truth_values(given, meant):
    assert resolve(sets=[f"search.compile={given}"]).search.compile == meant


@pytest.mark.parametrize("text", ["search: [", "- 1", "{a: b: c}", "\x00"])
def test_a_bad_file_is_a_sentence(tmp_path, text):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"YAML|expected"):
        resolve(file)


@pytest.mark.parametrize("setting", ["search.width", "=3", "search.width=[", "search.width.deeper=1"])
def test_a_bad_setting_is_a_sentence(setting):
    with pytest.raises(ConfigError):
        resolve(sets=["search.width=4", setting])


def test_keys_are_dotted_and_every_one_can_be_set():
    assert {"search.n", "prune.compare", "proxy.lr", "study.rerank.top"} <= set(known_keys())
    flat = flatten(Config())
    again = resolve(
        sets=[
            f"{key}={yaml.safe_dump(value, default_flow_style=True)}"
            for key, value in ((k, list(v) if isinstance(v, tuple) else v) for k, v in flat.items())
        ]
    )
    assert again == Config()


def test_yaml_is_read_as_people_mean_it(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "\ufeffseed: 010\nlimit: 0x200\nsearch: {lr: 1e-3, steps: 1_0, compile: off}\nfull: {supervised: yes}\n"
    )
    config = resolve(file)
    assert (config.seed, config.limit, config.search.lr, config.search.steps) == (10, 512, 0.001, 10)
    assert (config.search.compile, config.full.supervised) == ("off", True)
    assert resolve(sets=["seed=010", "search.lr=1e-3"]).search.lr == 0.001


@pytest.mark.parametrize(
    "text", ["search: {steps: 1:30}", "study: {trials: on}", "search: {n: yes}", "seed: 2026-01-01"]
)
def test_what_yaml_once_took_for_numbers_is_refused_with_its_line(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(f"# settings\n\n{text}\n")
    with pytest.raises(ConfigError, match=r"expected a valid integer.*mine\.yaml, line 3\)"):
        resolve(file)


@pytest.mark.parametrize(
    "text",
    [
        "search: {lr: 0.3}\nstudy: {trials: 2}\nsearch: {steps: 6}\n",
        "search:\n  lr: 0.3\n  lr: 0.3\n",
        "search.lr: 0.3\nsearch: {lr: 0.2}\n",
        "search: {lr: 0.3}\nsearch.lr: 0.2\n",
        "search.lr: 0.3\nsearch: 7\n",
        "study: {rerank: {top: 1}}\nstudy.rerank: {top: 2}\n",
    ],
)
def test_a_key_that_is_there_twice_is_refused(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"twice|single value"):
        resolve(file)
    with pytest.raises(ConfigError, match="has the key lr twice"):
        resolve(sets=["search={lr: 1, lr: 2}"])


def test_lines_of_repeated_keys_are_named(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("search: {lr: 0.3}\nseed: 1\nsearch: {steps: 6}\n")
    with pytest.raises(InputError, match=r"mine\.yaml has the key search twice, in lines 1 and 3; keep one"):
        resolve(file)


def test_dotted_keys_in_a_file_mean_their_sections(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("search.lr: 0.2\nsearch: {steps: 7}\nproxy.steps: 5\nstudy: {rerank.top: 3}\nstudy.repeats: 2\n")
    config = resolve(file)
    assert (config.search.lr, config.search.steps, config.proxy.steps) == (0.2, 7, 5)
    assert (config.study.rerank.top, config.study.repeats) == (3, 2)


def test_merged_parts_may_be_laid_over(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("proxy: &p {width: 8, steps: 5}\nfull: {<<: *p, steps: 9}\n")
    config = resolve(file)
    assert (config.full.width, config.full.steps, config.proxy.steps) == (8, 9, 5)


def test_faults_name_lines_of_files_and_not_of_what_was_set_over_them(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("config:\n  search:\n    widht: 3\n    lr: 1\n")
    with pytest.raises(ConfigError) as caught:
        resolve(file, ["search.lr=fast"])
    said = str(caught.value)
    assert f"search.widht: no such key; did you mean search.width? ({file}, line 3)" in said
    assert "search.lr: got 'fast', expected a valid number" in said
    assert said.count(", line ") == 1


def test_errors_have_bounded_length(tmp_path):
    file = tmp_path / "bomb.yaml"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{old}'] * 9)}]" for old, name in itertools.pairwise("abcdefgh")]
    file.write_text("\n".join([*lines, "dataset: *h", "search: *h", "limit: *h"]))
    with pytest.raises(ConfigError) as caught:
        resolve(file)
    assert len(str(caught.value)) < 5000
    file.write_text("\n".join(f"key{number}: 1" for number in range(5000)))
    with pytest.raises(ConfigError, match="and 4980 more") as caught:
        resolve(file)
    assert len(str(caught.value)) < 5000
    file.write_text(f"? {'k' * 100_000}\n: {'v' * 100_000}\n")
    with pytest.raises(ConfigError) as caught:
        resolve(file)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["1e3", "yes", "010", "1:30", "null", "0o17", "~", "2026-01-01", "on", "1_000", ".5"])
def test_text_that_looks_like_something_else_is_read_back_as_text(tmp_path, text):
    config = resolve(overrides={"dataset": f"folder:{text}", "study.on_finish": text, "split": text})
    file = tmp_path / "mine.yaml"
    file.write_text(dump(config))
    assert resolve(file) == config
    assert from_tree(yaml.safe_load(dump(config))) == config


@pytest.mark.parametrize("framework", get_args(TrainConfig.model_fields["framework"].annotation))
def test_every_framework_has_a_recipe_that_the_user_and_presets_overrule(framework):
    assert set(RECIPES) == set(get_args(TrainConfig.model_fields["framework"].annotation))
    config = resolve(sets=[f"full.framework={framework}", "full.batch=12"])
    assert {key: getattr(config.full, key) for key in RECIPES[framework]} == {**RECIPES[framework], "batch": 12}
    assert config.proxy.framework == FRAMEWORK
    for preset in FRAMEWORKS[framework].presets.values():
        full = resolve(overrides={f"full.{key}": value for key, value in preset.items()}).full
        assert {key: getattr(full, key) for key in preset} == dict(preset)
        assert not full.ema or framework == "r3gan"


@pytest.mark.parametrize("sets", [["proxy.gamma_end=0.1"], ["full.beta2_end=0.99"], ["full.decay_to=0.5"]])
def test_an_end_without_a_way_to_it_is_refused(sets):
    with pytest.raises(ConfigError, match="nothing moves under decay: none; set decay to linear or cosine"):
        resolve(sets=sets)
    assert resolve(sets=[*sets, f"{sets[0].partition('.')[0]}.decay=cosine"])


def test_settings_that_change_no_result_are_no_part_of_an_identity() -> None:
    left_out = {
        name: set(getattr(Config(), name).model_dump()) - set(identity(getattr(Config(), name)))
        for name in ("search", "prune", "proxy", "full", "scores", "study")
    }
    training = {"compile", "device", "milestones", "checkpoint_seconds", "checkpoint_quota"}
    assert left_out == {
        "search": {"mixed", "compile", "device", "checkpoint_seconds"},
        "prune": set(),
        "proxy": training,
        "full": training,
        "scores": {"weights"},
        "study": {"yardstick", "max_failures", "on_finish"},
    }
    assert identity(resolve(sets=["full.lr=0.5"]).full) != identity(resolve().full)
