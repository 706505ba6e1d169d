"""The process as it was before a command ran in it."""

import os
from collections.abc import Iterator
from unittest import mock

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def environment_as_it_was() -> Iterator[None]:
    """Undo what a command sets for its own process: cache directories inside its home; and run on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with mock.patch.dict(os.environ):
        os.environ.pop("DEGAS_RAY_HOME", None)
        yield
    torch.set_num_threads(threads)
