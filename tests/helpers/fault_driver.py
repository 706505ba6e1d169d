"""A study's driver for the tests of faults: begins the study or goes on with it, and prints every event as a line.

Called as: fault_driver.py HOME STUDY
"""

import sys
from pathlib import Path

from tiny_study import tiny_config

from degas_ray.errors import DegasError
from degas_ray.study import Event, run_study

TRIALS = 3


def main(home: Path, name: str) -> int:
    """Run the study; return the exit code that the CLI would."""
    config = tiny_config(
        study__trials=TRIALS,
        study__concurrent=2,
        study__max_failures=100,
        study__rerank={"top": 1, "seeds": 1},
        search__steps=20,
        search__checkpoint_seconds=0.2,
        proxy__steps=100,
        proxy__checkpoint_seconds=0.2,
        full__steps=40,
        full__checkpoint_seconds=0.2,
    )
    resume = (home / "studies" / name / "study.json").exists()

    def on_event(event: Event) -> None:
        print(f"{event.kind} {event.work} {event.phase} {event.step} {event.text}".rstrip(), flush=True)

    try:
        run_study(None if resume else config, home, name=name, resume=resume, on_event=on_event)
    except DegasError as error:
        print(f"ended: {error}", flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
