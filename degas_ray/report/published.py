"""Published scores: the paper's Tables 1 to 4, and what was published since. Every number is its source's own."""

from dataclasses import dataclass

PAPER = "Doveh and Giryes, DEGAS"
# What the paper says of its measuring (section 4); the numbers of others are those that it, or they, report.
PAPER_PROTOCOL = (
    "as published: Inception graph of 2015 (legacy resizing), 50,000 samples, 10 splits, FID against 50,000 real images"
)
OTHERS_PROTOCOL = "as published"


@dataclass(frozen=True)
class Published:
    """One published line.

    Args:
        name: As the paper calls it.
        is_mean: Inception score.
        is_std: Its spread.
        fid: FID; ``None`` where none was reported.
        gpu_days: Of the search.
        generator: The genotype, or the hand-designed generator, whose size can be counted here; empty where unknown.
        source: Who says so.
        note: More about it.
    """

    name: str
    is_mean: float | None = None
    is_std: float | None = None
    fid: float | None = None
    gpu_days: float | None = None
    generator: str = ""
    source: str = PAPER
    note: str = ""

    @property
    def protocol(self) -> str:
        """How it was measured, as far as that is said."""
        return PAPER_PROTOCOL if self.name.startswith("DEGAS") else OTHERS_PROTOCOL


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper.

    Args:
        number: The paper's.
        title: In words.
        dataset: Our name of it.
        supervised: Whether labels were used.
        resolution: Of the images.
        lines: In the paper's order.
    """

    number: int
    title: str
    dataset: str
    supervised: bool
    resolution: int
    lines: tuple[Published, ...]


_LATER = "its own paper, later"
TABLES = (
    PublishedTable(
        1,
        "CIFAR-10, unsupervised",
        "cifar10",
        False,
        32,
        (
            Published("real images", 11.24, None, 2.1),
            Published("SN-GAN", 8.22, 0.5, 11.8, note="FID taken from another paper"),
            Published("WGAN-GP", 7.86, 0.07, 14.1, note="FID taken from another paper"),
            Published("CT-GAN", 8.12, 0.12, generator="resnet"),
            Published("CAGAN", 8.35, 0.09),
            Published("AGAN", 8.29, 0.9, 30.5, 1200.0),
            Published("AutoGAN", 8.55, 0.1, 12.42),
            Published("DEGAS", 8.37, 0.08, 12.01, 1.167, "degas-cifar10"),
            Published("AdversarialNAS", 8.74, None, 10.87, 1.0, source=_LATER),
            Published("E2GAN", 8.51, None, 11.26, 0.292, source=_LATER, note="7 GPU-hours"),
            Published("EAGAN", 8.81, None, 9.91, 1.2, source=_LATER),
            Published("EWSGAN", 8.99, None, 9.09, source=_LATER),
        ),
    ),
    PublishedTable(
        2,
        "CIFAR-10, supervised",
        "cifar10",
        True,
        32,
        (
            Published("real images", 11.24, None, 2.1),
            Published("WGAN-GP", 8.42, 0.1),
            Published("CAGAN", 8.89, 0.11),
            Published("CT-GAN", 8.81, 0.13),
            Published("AGAN", 8.82, 0.9, 23.8, 1200.0),
            Published("DEGAS", 8.85, 0.07, 9.83, 1.167, "degas-cifar10"),
        ),
    ),
    PublishedTable(
        3,
        "STL-10 at 48x48, unsupervised",
        "stl",
        False,
        48,
        (
            Published("real images", 26.08, 0.26, 3.5),
            Published("SN-GAN", 9.10, 0.04, 40.1),
            Published("WGAN-GP", 9.05, 0.12),
            Published("CAGAN", 9.51, 0.14),
            Published("AGAN", 9.23, 0.08, 52.7, 1200.0),
            Published("AutoGAN", 9.16, 0.12, 31.01),
            Published("DEGAS, searched on STL-10", 9.22, 0.08, 40.25, 4.167, "degas-stl10"),
            Published("DEGAS, CIFAR-10 net", 9.71, 0.11, 28.76, 1.167, "degas-cifar10"),
        ),
    ),
    PublishedTable(
        4,
        "Ablation on CIFAR-10",
        "cifar10, ablation",
        False,
        32,
        (
            Published("DEGAS, search with n = 2", 7.24, 0.06, 48.83, generator="degas-cifar10-n2"),
            Published("DEGAS, search on 16x16 images", 8.03, 0.012),
            Published("DEGAS, random genotype", 8.127, 0.098, 15.312),
            Published("DEGAS", 8.37, 0.08, 12.01, 1.167, "degas-cifar10"),
        ),
    ),
)
