"""What every training loop shares."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, torch
from degas_ray.loop import keep_memory
torch.set_num_threads(1)
{call}
def work(rounds):
    for _ in range(rounds):
        tensor = torch.ones(10 * 2**20)  # 40 MiB, touched; glibc always gives blocks above 32 MiB back
        del tensor
work(50)  # the heap's blocks fall into place in the first five to ten
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work(10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(call):
    """Return the page faults of ten rounds of the same 40 MiB, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", COUNT.format(call=call)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_kept_memory_is_not_touched_anew():
    pages = 10 * 40 * 2**20 // 4096
    assert faults("keep_memory()") < pages / 100
    assert faults("") > pages / 4  # what happens otherwise
