"""How many threads a process has, and how they wait; torch's library reads it once, so nothing here imports torch."""

import os

from degas_ray.cores import cpu_limit, usable_cores

# Threads that spin while they wait take the core from the one they wait for as soon as anything else runs: a generator
# step on two threads took 2.9 s beside one busy process, and 0.2 s with threads that sleep (docs/performance.md).
WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}


def sleep_while_waiting() -> None:
    """Have idle threads of this process and its children sleep, unless the environment says otherwise.

    Call it before torch is imported. Every process of a study is set in the same way, so that the steps that a dry run
    measures are those that the workers run.
    """
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)


def keep_to_the_limit() -> None:
    """Have as many threads as a control group allows cores; torch itself looks at the affinity alone.

    Call it before torch is imported.
    """
    if cpu_limit() is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
