"""Files that something has happened to."""

from collections.abc import Iterator

import numpy as np


def damaged(content: bytes, count: int, seed: int, head: int | None = None) -> Iterator[bytes]:
    """Yield changed copies: bytes overwritten, bits turned, pieces cut out, doubled or moved, ends cut off.

    Args:
        content: A good file.
        count: Copies to make.
        seed: Of the damage.
        head: Half of the damage falls on the first and last ``head`` bytes, where formats keep their structure.
    """
    rng = np.random.default_rng(seed)
    for number in range(count):
        data = bytearray(content)
        span = min(head or len(data), len(data))
        for _ in range(int(rng.integers(1, 6))):
            place = int(rng.integers(span)) if number % 2 else int(rng.integers(len(data) or 1))
            place = len(data) - 1 - place if number % 4 == 1 else place
            place = min(max(place, 0), max(len(data) - 1, 0))
            length = int(rng.integers(1, 9))
            kind = rng.integers(7)
            if kind == 0:
                data[place : place + length] = rng.bytes(length)
            elif kind == 1 and data:
                data[place] ^= 1 << int(rng.integers(8))
            elif kind == 2:
                data[place : place + length] = rng.choice([b"\xff", b"\0", b"\x7f", b"\x80"]) * length
            elif kind == 3:
                del data[place : place + length]
            elif kind == 4:
                data[place:place] = data[place : place + length]
            elif kind == 5:
                other = int(rng.integers(len(data) or 1))
                data[place : place + length] = data[other : other + length]
            elif rng.integers(4) == 0:
                del data[place:]
        yield bytes(data)
