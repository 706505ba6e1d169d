"""The authors' own generators (facts from the release of Doveh and Giryes, github SivanDoveh/DEGAS)."""

import json
from pathlib import Path

from degas_ray.errors import GenotypeError
from degas_ray.space.genotype import Genotype

_TEXTS = {
    "degas-cifar10": (
        "N1a=sep_conv_5x5(U0); U1=up_conv_1x1(U0)+up_conv_3x3(N1a); "
        "N2a=sep_conv_3x3(U1); U2=deconv_4x4(U1)+up_conv_3x3(N2a); "
        "N3a=conv_3x3(U2); U3=deconv_6x6(N3a)"
    ),
    "degas-cifar10-n2": (
        "N1a=dil_conv_5x5(U0); N1b=sep_conv_3x3(U0)+sep_conv_5x5(N1a); U1=deconv_6x6(N1a)+deconv_4x4(N1b); "
        "N2a=sep_conv_3x3(U1); N2b=sep_conv_5x5(U1)+sep_conv_5x5(N2a); U2=deconv_4x4(U1)+deconv_4x4(N2b); "
        "N3a=dil_conv_5x5(U2); N3b=sep_conv_5x5(N3a); U3=up_conv_1x1(U2)+up_conv_1x1(N3b)"
    ),
    "degas-stl10": (
        "N1a=sep_conv_5x5(U0); U1=up_conv_3x3(U0)+up_conv_3x3(N1a); "
        "N2a=avg_pool_3x3(U1); U2=deconv_4x4(N2a); "
        "N3a=conv_3x3(U2); U3=up_conv_3x3(U2)+up_conv_1x1(N3a)"
    ),
}
PUBLISHED: dict[str, Genotype] = {name: Genotype.parse(text) for name, text in _TEXTS.items()}


def find_genotype(text: str) -> Genotype:
    """Return the genotype that ``text`` means: a published name, the one-line form, or a JSON file.

    Raises:
        GenotypeError: Where it is none of them.
    """
    if text in PUBLISHED:
        return PUBLISHED[text]
    if "=" in text:
        return Genotype.parse(text)
    path = Path(text)
    try:
        return Genotype.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
            raise GenotypeError(
                f"{text} is not a JSON file; expected what 'degas-ray show NAME --json' prints"
            ) from None
        known = ", ".join(PUBLISHED)
        raise GenotypeError(
            f"got {text[:80]!r}; expected a published name ({known}), a genotype such as "
            "'N1a=conv_3x3(U0); U1=...', or a JSON file"
        ) from None
    except RecursionError:
        raise GenotypeError(f"{text} is nested too deeply to be a genotype") from None
