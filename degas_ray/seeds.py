"""Seeds: every random choice of a study has its own, derived from one number, recorded with what it was used for."""

import hashlib

SEED_BITS = 63  # fits MLflow, Optuna, NumPy and torch alike


def derive(seed: int, *names: str | int) -> int:
    """Return the seed that ``names`` have below ``seed``: the same on every machine, unrelated for other names.

    Args:
        seed: The parent's seed.
        names: What the new seed is for, such as ``"trial", 3, "search"``.

    Returns:
        An integer in [0, 2^63).

    Example:
        >>> derive(0, "trial", 1) != derive(0, "trial", 2)
        True
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)
