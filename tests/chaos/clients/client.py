"""The clients of a chaos run: each starts tasks by its plan, follows them in every way there is, and cancels some."""

import threading
import time
from random import Random
from typing import NamedTuple

from tests.chaos.clients.asking import Asking
from tests.chaos.judging.bars import Sight, Status
from tests.chaos.judging.evidence import Answer, Evidence, Told
from tests.chaos.plan import WEBS, Start

#: Seconds between two looks at everything.
POLL = 0.6

#: Seconds until a start that was not answered with 202 is sent again.
AGAIN = 0.4

#: Streams that one client keeps open.
MOST_STREAMS = 2

#: Ids that one request may ask for.
MOST_IDS = 100


class Wish(NamedTuple):
    """Something to be asked at a time."""

    at: float
    what: str
    start: Start
    task_id: str = ""
    #: Where it was asked last, and when first.
    web: str = ""
    first: float = 0


class Client(threading.Thread):
    """`begun` is when the run began; `stop` ends it though there are tasks open."""

    def __init__(
        self,
        name: str,
        seed: int,
        starts: list[Start],
        evidence: Evidence,
        urls: dict[str, str],
        begun: float,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._random = Random(f"{seed} {name}")
        self._evidence = evidence
        self._asking = Asking(evidence, urls)
        self._wishes = [Wish(begun + start.at, "start", start) for start in starts]
        self._mine: list[str] = []
        self._streams: list[threading.Thread] = []
        self._next_poll = begun
        self.stop = threading.Event()
        self.failed: BaseException | None = None

    @property
    def open(self) -> list[str]:
        """The tasks that have not ended, and what has not been asked yet."""
        bars = self._evidence.bars
        return [
            *(wish.start.key for wish in self._wishes),
            *(task_id for task_id in self._mine if bars.is_open(task_id)),
        ]

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self._turn()
                time.sleep(0.05)
        except BaseException as error:
            self.failed = error
            raise

    def _turn(self) -> None:
        now = time.time()
        due = [wish for wish in self._wishes if wish.at <= now]
        for wish in sorted(due, key=lambda wish: wish.at):
            self._wishes.remove(wish)
            self._start(wish) if wish.what == "start" else self._cancel(wish)
        if now >= self._next_poll:
            self._next_poll = now + POLL
            self._look()

    def _web(self, other_than: str = "") -> str:
        return self._random.choice([web for web in WEBS if web != other_than])

    # -- starting and cancelling ---------------------------------------------------------------------

    def _start(self, wish: Wish) -> None:
        start, web = wish.start, self._web(wish.web)
        options = {
            "about": start.kind,
            "json": {"key": start.key, "seconds": start.seconds, "countdown": start.countdown},
            "headers": {"Idempotency-Key": start.key},
        }
        answer, document = self._asking.ask("start", web, "POST", f"/chaos/{start.kind}", **options)
        first = wish.first or answer.sent
        again = wish._replace(at=time.time() + AGAIN, web=web, first=first)
        if answer.code != 202:
            self._wishes.append(again)
            return
        told = Told(
            answer.received,
            start.key,
            start.kind,
            tuple(document["task_ids"]),
            first + start.countdown,
        )
        tolds = self._evidence.told.setdefault(start.key, [])
        tolds.append(told)
        if len(tolds) > 1:
            return  # it was sent again to see that it starts nothing
        self._mine.extend(told.task_ids)
        if start.repeat:
            self._wishes.append(again)
        if start.cancel_after is not None:
            at = time.time() + start.cancel_after
            self._wishes.append(Wish(at, "cancel", start, told.task_ids[0]))

    def _cancel(self, wish: Wish) -> None:
        web = self._web(wish.web)
        self._evidence.cancelled.setdefault(wish.task_id, time.time())
        answer, document = self._asking.ask("cancel", web, "DELETE", f"/status/{wish.task_id}")
        if answer.code == 200:
            self._see(wish.task_id, answer, document)
        elif answer.code not in (404, 409):
            self._wishes.append(wish._replace(at=time.time() + AGAIN, web=web))

    # -- following -----------------------------------------------------------------------------------

    def _look(self) -> None:
        if not self._mine:
            return
        bars = self._evidence.bars
        task_ids = [task_id for task_id in self._mine if bars.is_open(task_id)]
        # What has ended must stay so.
        task_ids += self._random.sample(self._mine, min(5, len(self._mine)))
        self.poll(list(dict.fromkeys(task_ids)))
        way = self._random.random()
        one = self._random.choice(task_ids)
        if way < 0.3:
            self._look_at(one)
        elif way < 0.4:
            self._look_at(one, wait=1)
        elif way < 0.5:
            self._asking.ask("health", self._web(), "GET", "/health")
        elif way < 0.7:
            self._streams = [stream for stream in self._streams if stream.is_alive()]
            if len(self._streams) < MOST_STREAMS:
                self._streams.append(
                    threading.Thread(target=self._follow, args=(self._web(), one), daemon=True)
                )
                self._streams[-1].start()

    def poll(self, task_ids: list[str]) -> bool:
        """Ask for many at once. Returns whether all were told."""
        complete = True
        for first in range(0, len(task_ids), MOST_IDS):
            some = task_ids[first : first + MOST_IDS]
            answer, document = self._asking.ask(
                "poll", self._web(), "GET", "/status", params={"id": some}
            )
            if answer.code == 200:
                for task_id, status in document["tasks"].items():
                    self._see(task_id, answer, status)
            else:
                complete = False
        return complete

    def _look_at(self, task_id: str, wait: int = 0) -> None:
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        ask = "wait" if wait else "look"
        answer, document = self._asking.ask(
            ask, self._web(), "GET", f"/status/{task_id}", wait, headers=headers
        )
        if answer.code == 200:
            self._see(task_id, answer, document)
        elif answer.code == 404:
            self._see(task_id, answer, None)

    def _follow(self, web: str, task_id: str) -> None:
        previous: Status | None = None
        for sent, received, (name, document) in self._asking.events(web, f"/status/{task_id}", 15):
            if name == "message":
                sight = Sight(sent, received, document)
                self._evidence.bars.see(task_id, sight, previous)
                previous = document
            elif name == "gone":
                self._evidence.bars.see(task_id, Sight(sent, received, None))

    def _see(self, task_id: str, answer: Answer, status: Status | None) -> None:
        self._evidence.bars.see(task_id, Sight(answer.sent, answer.received, status))

    def start_now(self, start: Start) -> None:
        """At the end, from another thread."""
        self._start(Wish(time.time(), "start", start))

    def look_once_more(self) -> bool:
        """At the end, from another thread: all of its tasks, whether they have ended or not."""
        return self.poll(self._mine)
