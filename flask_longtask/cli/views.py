"""What `watch` writes where it draws no bars: lines of text for people, or of JSON for programs."""

import click

from flask_longtask.cli.group import echo_json, summary
from flask_longtask.web.streams.subscription import Status

AWAY = "Redis does not answer. Trying again until it does."
GONE = "There is no such task: it was never started, or it ended long ago and was deleted."


class View:
    """Shows the status of tasks."""

    _is_away = False

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, task_id: str, status: Status) -> None:
        """Show the present status of a task; None for one that does not exist (any more)."""
        if self._is_away:
            self._is_away = False
            self.say("Redis answers again.")
        self.draw(task_id, status)

    def say_away(self) -> None:
        """Say once that Redis does not answer. The next `show` says that it answers again."""
        if not self._is_away:
            self._is_away = True
            self.say(AWAY)

    def draw(self, task_id: str, status: Status) -> None:
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Write a sentence that is not about one task."""
        click.echo(text, err=True)


class Lines(View):
    """Writes a line for each change."""

    def draw(self, task_id: str, status: Status) -> None:
        click.echo(f"{task_id}: {GONE if status is None else summary(status)}")


class JsonLines(View):
    """Writes a status object for each change; its state is null for a task that does not exist."""

    def draw(self, task_id: str, status: Status) -> None:
        echo_json({"task_id": task_id, "state": None, "status": GONE} if status is None else status)
