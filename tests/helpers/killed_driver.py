"""A study's driver that ends itself by a signal when its first trial reports from the proxy training.

Called as: killed_driver.py HOME STUDY SIGNAL SEARCH_CPUS
"""

import os
import signal
import sys
from pathlib import Path

from tiny_study import tiny_config

from degas_ray.errors import Interrupted
from degas_ray.study import Event, run_study

FAR_ENOUGH = 20  # of 200 steps: checkpoints have been written


def main(home: Path, name: str, number: int, cpus: float) -> int:
    """Run a study of two trials, one at a time, until the signal; return the exit code that the CLI would."""
    config = tiny_config(
        study__concurrent=1,
        study__search_cpus=cpus,
        study__rerank={"top": 0, "seeds": 1},
        proxy__steps=200,
        proxy__checkpoint_seconds=0.1,
        seed=2,  # under which neither of its tiny trainings collapses
    )

    def on_event(event: Event) -> None:
        if event.phase == "proxy" and event.step > FAR_ENOUGH:
            print(f"ended by {signal.Signals(number).name} at step {event.step}", flush=True)
            os.kill(os.getpid(), number)

    try:
        run_study(config, home, name=name, on_event=on_event)
    except Interrupted as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
