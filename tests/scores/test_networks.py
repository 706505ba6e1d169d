"""The networks against their sources: the package's EfficientNet, clean-fid's Inception wrapper, Pillow's resize."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer, make_resizer
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_sample_images
from standin_networks import write_graph

from degas_ray.errors import InputError
from degas_ray.scores import load_extractor
from degas_ray.scores.networks import EfficientNetLite0, efficientnet_lite0_path, resize


def noise(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (16, 16), (48, 40), (300, 200)])
@pytest.mark.parametrize("size", [64, 299])
def test_resize_is_that_of_clean_fid(height: int, width: int, size: int) -> None:
    image = noise(1, height, width)[0]
    theirs = make_resizer("PIL", False, "bicubic", (size, size))(image)
    ours = resize(torch.from_numpy(image).permute(2, 0, 1)[None], size)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, theirs, atol=0.01)
    if height < size:
        assert (ours.min(), ours.max()) == (0, 255)  # enlarged noise overshoots, and is clamped as theirs


def test_efficientnet_is_the_package_s_own_network() -> None:
    net = EfficientNet.from_name("efficientnet-lite0", image_size=64)
    net.load_state_dict(torch.load(efficientnet_lite0_path(), weights_only=True))
    net.eval()
    images = torch.from_numpy(noise(4, 64, 64)).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        maps = net.extract_features((images - 127) / 128)
        logits = net((images - 127) / 128)
        ours = EfficientNetLite0().eval()(images)
    torch.testing.assert_close(ours[0], maps.mean((2, 3)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours[1], logits, rtol=1e-4, atol=1e-3)


def test_efficientnet_recognises_a_photograph() -> None:
    china, flower = (image[:427, 100:527] for image in load_sample_images().images)
    probabilities = load_extractor("efficientnet-lite0", Path())(np.stack([china, flower])).logits.softmax(1)
    assert probabilities.argmax(1)[0] == 832  # ImageNet's stupa, for a photograph of a Chinese temple
    assert probabilities[0, 832] > 0.9


def test_inception_s_features_are_those_of_clean_fid(tmp_path: Path) -> None:
    write_graph(tmp_path / "inception-2015-12-05.pt")
    theirs = InceptionV3W(str(tmp_path), download=False)
    extractor = load_extractor("inception", tmp_path, weights=tmp_path / "inception-2015-12-05.pt")
    images = noise(3, 299, 299)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous())
    torch.testing.assert_close(extractor(images).features, expected, rtol=1e-5, atol=1e-5)


def test_legacy_features_are_those_of_clean_fid_s_tensorflow_mode(tmp_path: Path) -> None:
    path = tmp_path / "inception-2015-12-05.pt"
    write_graph(path)
    legacy, clean = (load_extractor("inception", tmp_path, path, resizer=resizer) for resizer in ("legacy", "clean"))
    assert (legacy.resizer, clean.resizer) == ("legacy-bilinear-299", "clean-bicubic-299")
    images = noise(3, 32, 32)
    planes = torch.from_numpy(build_resizer("legacy_tensorflow")(images)).permute(0, 3, 1, 2)
    with torch.no_grad():  # the file as a whole, as its makers call it
        expected = torch.jit.load(str(path)).eval()(planes, return_features=True)
    torch.testing.assert_close(legacy(images).features, expected, rtol=1e-4, atol=1e-4)
    assert (expected - clean(images).features).abs().max() > 1e-3


def test_the_legacy_resizer_is_inception_s_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scores.resizer: got legacy with efficientnet-lite0, expected clean"):
        load_extractor("efficientnet-lite0", tmp_path, resizer="legacy")


def test_no_network_needs_the_part_of_clean_fid_that_new_scipys_break(tmp_path: Path) -> None:
    path = tmp_path / "graph.pt"
    write_graph(path)
    code = (
        "import sys; from pathlib import Path; from degas_ray.scores import load_extractor\n"
        f"load_extractor('inception', Path(), Path({str(path)!r}), resizer='legacy')\n"
        "assert 'cleanfid.inception_torchscript' in sys.modules\n"
        "sys.exit('cleanfid.fid' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_inception_s_logits_leave_the_bias_out(tmp_path: Path) -> None:
    path = tmp_path / "graph.pt"
    write_graph(path)
    graph = torch.jit.load(str(path)).eval()
    images = noise(3, 299, 299)
    planes = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected, biased = graph(planes, no_output_bias=True), graph(planes)
    extractor = load_extractor("inception", tmp_path, weights=path)
    got = extractor(images).logits.softmax(1)
    assert extractor.classes == 1008
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)
    assert (got - biased).abs().max() > 0.01


class _Headless(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_other_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    text, truncated, other = tmp_path / "text.pt", tmp_path / "truncated.pt", tmp_path / "other.pt"
    text.write_text("not a network")
    write_graph(tmp_path / "whole.pt")
    truncated.write_bytes((tmp_path / "whole.pt").read_bytes()[:10_000])
    torch.jit.script(_Headless()).save(str(other))
    for path in (text, truncated, other):
        with pytest.raises(InputError, match=r"is not the Inception graph of 2015.*inception-2015-12-05\.pt") as caught:
            load_extractor("inception", tmp_path, weights=path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"cannot read the weights .*absent\.pt: No such file"):
        load_extractor("inception", tmp_path, weights=tmp_path / "absent.pt")


def test_a_name_that_is_none_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got 'vgg', expected inception or efficientnet-lite0"):
        load_extractor("vgg", tmp_path)


def test_weights_are_not_taken_for_the_wrong_extractor(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="come with pip; leave it out"):
        load_extractor("efficientnet-lite0", tmp_path, weights=tmp_path / "inception-2015-12-05.pt")
