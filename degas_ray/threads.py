"""How a process's threads wait for each other; torch's library reads it once, so nothing here imports torch."""

import os

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
