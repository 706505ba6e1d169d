"""The card of a registered generator: what a stranger must know before using it."""

from collections.abc import Mapping, Sequence
from typing import Any

from degas_ray.figures import tables


def model_card(
    name: str,
    *,
    genotype: str,
    words: str,
    scores: Sequence[str],
    data: str,
    training: Mapping[str, Any],
    run_id: str,
    version: str = "champion",
    found: str = "differentiable search (DEGAS: Doveh and Giryes, 2019)",
) -> str:
    """Return the card in Markdown; written as README.md into the model's folder, it becomes the version's description.

    Args:
        name: Of the registered model.
        genotype: In one line.
        words: The genotype in words.
        scores: Sentences that carry their protocol.
        data: What it was trained on, with the fingerprint.
        training: Settings by name.
        run_id: MLflow's run that made it.
        version: An alias.
        found: What the architecture was found by.
    """
    uri = f"models:/{name}@{version}"
    rows = [{"setting": key, "value": str(value)} for key, value in training.items()]
    measured = "\n".join(f"- {sentence}" for sentence in scores) or "- not scored"
    return f"""# {name}

An image generator whose architecture was found by {found}, and trained as a GAN.

## Use

    degas-ray sample {uri} -n 64 --out samples

## Architecture

`{genotype}`

{words}

## Scores

{measured}

Compare them only with scores of the same protocol: extractor, numbers of samples, resizing and BN mode all move them.

## Training

{data}

{tables.markdown(rows, ["setting", "value"])}

MLflow run `{run_id}` holds the code's version, the packages, the machine and the curves.

## Limits

It draws what its training images are like, with their gaps and their slant, and may come close to single ones of them.
A score says how alike two sets of features are, not that an image is true.
"""
