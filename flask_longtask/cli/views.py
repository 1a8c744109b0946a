"""What `watch` writes where there is no terminal to draw bars on: lines for people, or for programs."""

import click

from flask_longtask.cli.group import echo_json, summary
from flask_longtask.web.streams.subscription import Status

AWAY = "Redis does not answer. Trying again until it does."
GONE = "There is no such task: it was never submitted, or its result has expired."


class View:
    """Shows how tasks are."""

    _is_blind = False

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, task_id: str, status: Status) -> None:
        """A task is so now; None for one that does not exist, or not any more."""
        if self._is_blind:
            self._is_blind = False
            self.say("Redis answers again.")
        self.draw(task_id, status)

    def lose_sight(self) -> None:
        """Redis does not answer. What is shown next is how the tasks are when it does again."""
        if not self._is_blind:
            self._is_blind = True
            self.say(AWAY)

    def draw(self, task_id: str, status: Status) -> None:
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Something that is not about one task."""
        click.echo(text, err=True)


class Lines(View):
    """A line for each change."""

    def draw(self, task_id: str, status: Status) -> None:
        click.echo(f"{task_id}: {GONE if status is None else summary(status)}")


class JsonLines(View):
    """A status object for each change; for a task that does not exist one without a state."""

    def draw(self, task_id: str, status: Status) -> None:
        echo_json({"task_id": task_id, "state": None, "status": GONE} if status is None else status)
