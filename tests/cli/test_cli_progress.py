"""What views show, with a clock that the test moves."""

import re

import pytest

from degas_ray.cli import progress
from degas_ray.cli.progress import Board, Pace, PlainView, Row, View, describe_row, draw, duration, open_view
from degas_ray.cli.watch import study_events
from degas_ray.scores import Protocol
from degas_ray.scores.extractors import INCEPTION
from degas_ray.scores.protocol import METHOD
from degas_ray.study.events import Event


def measured_on(weights_hash: str) -> Protocol:
    """Return the protocol of scores on an Inception network with these weights."""
    return Protocol("inception", weights_hash, "r", 20, 20, 2, "f", "batch", "last", METHOD, 0, "0")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (59.6, "01:00"), (725, "12:05"), (3725, "1:02:05")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_pace_forgets_a_slow_beginning() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.note(0)
    assert pace.left(100) is None
    clock.now = 60.0  # compilation
    pace.note(1)
    for step in range(2, 26):
        clock.now += 0.5
        pace.note(step)
    left = pace.left(100)
    assert left is not None
    assert abs(left - 37.5) < 0.2 * 37.5


def test_pace_looks_back_far_enough_for_a_machine_whose_speed_changes() -> None:
    clock = Clock()
    pace = Pace(clock)
    for step in range(101):
        pace.note(step)
        clock.now += 2.0 if step % 20 < 10 else 0.5  # another program comes and goes; 1.25 s a step
        if step in range(25, 90):
            left = pace.left(100)
            assert left is not None
            assert abs(left - 1.25 * (100 - step)) < 0.35 * 1.25 * (100 - step) + 10, step


def test_pace_counts_down_between_reports_and_starts_anew_with_a_new_loop() -> None:
    clock = Clock()
    pace = Pace(clock)
    for step in range(5):
        clock.now = float(step)
        pace.note(step)
    clock.now = 6.0
    assert pace.left(10) == 4.0
    clock.now = 99.0
    assert pace.left(10) == 0.0
    pace.note(0)
    assert pace.left(10) is None


def test_pace_after_a_resume_counts_from_where_it_began() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.note(900)
    clock.now = 10.0
    pace.note(910)
    assert pace.left(1000) == 90.0


def test_plain_lines_tell_news_and_little_else(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with PlainView("tune digits-1") as view:
        view.update("trial 0", phase="search", step=0, steps=40)
        for step in range(1, 41):
            clock.now += 1.0
            view.update("trial 0", phase="search", step=step, steps=40, note="loss 0.5")
        view.update("trial 0", phase="proxy", step=0, steps=20)
        view.update("trial 0", state="diverged", note="loss became non-finite")
        view.summary(done=1, total=4, left=125.0, best="FID 12.0")
        view.summary(done=1, total=4, left=120.0, best="FID 12.0")
        view.message("the database is back")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "00:00  tune digits-1",
        "00:00  trial 0  search 0/40",
        "00:15  trial 0  search 15/40  00:25 left  loss 0.5",
        "00:30  trial 0  search 30/40  00:10 left  loss 0.5",
        "00:40  trial 0  proxy 0/20",
        "00:40  trial 0  diverged  loss became non-finite",
        "00:40  best so far: FID 12.0 (1 of 4 trials · 02:05 left)",
        "00:40  the database is back",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with open_view("tune", quiet=True) as view:
        view.update("trial 0", phase="search")
        view.summary(done=1, total=1, best="FID 1")
        view.message("hello")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_lines_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(open_view("x", quiet=False), PlainView)


def render(board: Board, width: int, height: int = 24) -> list[str]:
    from rich.console import Console

    console = Console(width=width, height=height, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(draw(board, console))
    return capture.get().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_live_board_fits_its_terminal(width: int) -> None:
    view = View("tune  digits-1")
    for number in range(40):
        view.update(f"trial {number}", state="completed", note="Fréchet distance 823.1")
    view.update("trial 40", phase="search", step=3, steps=10, note="loss 0.312, alpha entropy 0.87, skip share 0.1")
    view.summary(done=40, total=60, left=100.0, best="Fréchet distance 700.0 (efficientnet-lite0 features)")
    lines = render(view.board, width)
    assert len(lines) <= 24
    assert {len(line) for line in lines} == {width}
    text = "\n".join(lines)
    assert re.search(r"▶ trial 40 .* search +3/10", text)
    assert "✓ trial 39" in text
    assert "and 23 more" in text
    assert "40 of 60 trials · 01:40 left" in lines[-1]


def test_row_in_words() -> None:
    assert describe_row(Row("trial 1", "running", "score")) == "trial 1  score"
    assert describe_row(Row("trial 1", "completed", note="FID 3")) == "trial 1  completed  FID 3"


def test_a_resumed_study_counts_the_trials_that_were_over() -> None:
    view = View("tune")
    receive = study_events(view)
    receive(Event("plan", step=2, steps=3, text="digits-1"))
    receive(Event("start", work="trial 2", trial=2, best=12.0, protocol=measured_on(INCEPTION.sha256[:16])))
    assert (view.board.done, view.board.total, view.board.best) == (2, 3, "FID 12.0 (inception features)")
    receive(Event("end", work="trial 2", trial=2, outcome="completed", score=11.0, best=11.0))
    assert view.board.done == 3


def test_a_distance_on_other_weights_than_the_published_ones_is_not_called_fid() -> None:
    view = View("tune")
    own = measured_on("0" * 16)
    study_events(view)(Event("end", work="trial 0", trial=0, outcome="completed", score=9.0, best=9.0, protocol=own))
    assert view.board.rows["trial 0"].note == "Fréchet distance 9.0"
    assert view.board.best == "Fréchet distance 9.0 (inception features of other weights, 0000000000000000)"
