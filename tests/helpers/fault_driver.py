"""A study's driver for the tests of faults: begins the study or goes on with it, and prints every event as JSON.

Called as: fault_driver.py HOME STUDY
"""

import json
import sys
import warnings
from pathlib import Path

from tiny_study import tiny_config

from degas_ray.errors import DegasError, DegasWarning
from degas_ray.study import Event, run_study

TRIALS = 2
STEPS = {"search": 20, "proxy": 60, "full": 40}  # every step of each is reported


def main(home: Path, name: str) -> int:
    """Run the study; return the exit code that the CLI would."""
    lengths = {f"{phase}__steps": steps for phase, steps in STEPS.items()}
    config = tiny_config(
        study__trials=TRIALS,
        study__concurrent=2,
        study__max_failures=100,
        study__rerank={"top": 1, "seeds": 1},
        **{f"{phase}__checkpoint_seconds": 0.2 for phase in STEPS},
        **lengths,
    )
    resume = (home / "studies" / name / "study.json").exists()

    def on_event(event: Event) -> None:
        _say(event.kind, event.work, event.phase, event.step, event.text or event.outcome)

    try:
        run_study(None if resume else config, home, name=name, resume=resume, on_event=on_event)
    except DegasError as error:
        _say("ended", "", "", 0, str(error))
        return error.exit_code
    except OSError as error:  # as the CLI does: a full disk is told like any other failure
        _say("ended", "", "", 0, f"{error.filename}: {error.strerror}")
        return 1
    return 0


def _say(*words: str | int) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    warnings.simplefilter("always", DegasWarning)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
