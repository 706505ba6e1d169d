"""Standard streams as a shell may give them: closed, or in an encoding without all characters that are printed."""

import codecs
import os
import sys
from typing import TextIO

# What stands for our own signs where an encoding has none of them.
PLAIN = str.maketrans(
    {
        "–": "-", "−": "-", "→": "->", "↑": "^", "×": "x", "±": "+-", "·": "-", "…": "...", "\xa0": " ", "α": "alpha",
        "★": "*", "✓": "+", "✗": "x", "▶": ">", "○": "o", "‖": "=", "─": "-",
    }
)  # fmt: skip
ERRORS = "degas-ray"


def mend_streams() -> None:
    """Put the null device in the place of streams that are closed, and have the others write what they cannot encode.

    A closed stream's number would be given to the next file that is opened, and what libraries print would go there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:  # closed when Python started
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    codecs.register_error(ERRORS, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)


def takes_all(stream: TextIO) -> bool:
    """Return whether every character can be written to a stream."""
    return codecs.lookup(stream.encoding or "ascii").name.startswith("utf-")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Write our signs in other words, and what is left, such as a file's name, as Python does in a literal."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    words = error.object[error.start : error.end].translate(PLAIN)
    return words.encode("ascii", "backslashreplace").decode("ascii"), error.end
