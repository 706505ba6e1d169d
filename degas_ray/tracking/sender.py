"""The thread that sends a run's journal while the run goes on."""

import threading
from collections.abc import Callable

from degas_ray.tracking import backend
from degas_ray.tracking.delivery import Delivery


class Sender(threading.Thread):
    """Sends a journal from the background, so that no loop ever waits for a server; closes it at the end.

    Args:
        delivery: What it sends.
        pause: Seconds between two rounds, where that is more than :attr:`PAUSE`.
    """

    PAUSE = 1.0  # seconds between two rounds: records that come meanwhile go together
    LONGEST_PAUSE = 8.0  # after failures

    def __init__(self, delivery: Delivery, pause: float = 0.0) -> None:
        super().__init__(name="degas-tracking", daemon=True)
        self.delivery = delivery
        self.problem = ""
        self._pause = max(self.PAUSE, pause)
        self._changed = threading.Condition()
        self._dirty = False
        self._closing = False
        self._given_up = False
        self._done = False

    def notify(self) -> None:
        """Say that there are new records."""
        with self._changed:
            self._dirty = True
            self._changed.notify_all()

    def close(self, seconds: float) -> bool:
        """Send what is left, trying for ``seconds``, and end; tell whether everything was sent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.join(seconds)
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
        return self._done

    def run(self) -> None:
        """Send, wait for more, and wait longer after a failure."""
        pause = self.PAUSE
        sent = False
        while not (self._given_up or (self._closing and sent and not self._dirty)):
            self._wait(None, lambda: self._dirty or self._closing)
            self._dirty = False
            sent = self._send()
            if sent:
                pause = self.PAUSE
                self._wait(self._pause, lambda: self._closing)
            else:
                self._dirty = True
                pause = self._wait_for_better(pause)
        self.delivery.journal.close(remove=sent)
        self._done = sent

    def _wait_for_better(self, pause: float) -> float:
        closing = self._closing
        pause = self.PAUSE if closing else min(2 * pause, self.LONGEST_PAUSE)
        self._wait(pause, lambda: self._given_up or self._closing != closing)
        return pause

    def _send(self) -> bool:
        try:
            self.delivery.send()
        except backend.failures() as error:
            self.problem = backend.first_line(error)
            return False
        self.problem = ""
        return True

    def _wait(self, seconds: float | None, until: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(until, seconds)
