"""A bar on the terminal for each watched task. Needs Rich, which is optional."""

from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from flask_longtask.cli.group import printable
from flask_longtask.cli.views import GONE, View
from flask_longtask.status import ENDED_STATES
from flask_longtask.web.streams.subscription import Status

_STYLES = {"SUCCESS": "green", "REVOKED": "yellow"}


class Bars(View):
    def __init__(self) -> None:
        self._console = Console()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            _TimeLeft(),
            _Message(Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=self._console,
            expand=True,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> View:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def draw(self, task_id: str, status: Status) -> None:
        if task_id not in self._bars:
            name = printable((status or {}).get("task") or "")
            description = f"{name} {printable(task_id)[:8]}".strip()
            self._bars[task_id] = self._progress.add_task(description, total=100, message=Text())
        if status is None:
            self._progress.update(self._bars[task_id], message=Text(GONE, "red"), left=None)
            return
        style = _STYLES.get(status["state"], "red") if status["state"] in ENDED_STATES else ""
        self._progress.update(
            self._bars[task_id],
            completed=status["percent"],
            message=Text(f"{status['state']} {printable(status['status'])}".strip(), style),
            left=status["eta"],
        )

    def say(self, text: str) -> None:
        self._console.print(text, style="yellow", markup=False)


class _TimeLeft(ProgressColumn):
    """The seconds left as the status object has them. Rich would estimate them itself."""

    def render(self, task: Task) -> Text:
        left = task.fields.get("left")
        return Text("" if left is None else f"{timedelta(seconds=round(left))} left", "cyan")


class _Message(ProgressColumn):
    def render(self, task: Task) -> Text:
        message: Text = task.fields["message"]
        return message
