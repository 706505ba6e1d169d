"""Where workers and driver leave messages for each other: a Ray actor that imports nothing, so it starts at once."""

from typing import Any


class Board:
    """Where workers leave what they have to say, and find out whether they are to stop; a Ray actor."""

    def __init__(self) -> None:
        self._news: list[tuple[str, Any]] = []
        self._stop = False

    def tell(self, kind: str, what: Any) -> None:
        """Leave one piece of news."""
        self._news.append((kind, what))

    def take(self) -> list[tuple[str, Any]]:
        """Return the news since the last call."""
        news, self._news = self._news, []
        return news

    def stop(self) -> None:
        """Ask the workers to stop."""
        self._stop = True

    def stopping(self) -> bool:
        """Return whether they were asked to."""
        return self._stop
