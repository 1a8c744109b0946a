"""What the loops of a task report, and the lines that it logs, without a task."""

import logging
import threading
from collections.abc import Sequence

import pytest

from flask_longtask.task_parts.tracker import Line, Loop, Tracker
from tests.processes import wait_until


def test_a_loop_inside_a_loop_is_told_while_it_lasts_and_then_the_outer_one_again() -> None:
    told: list[tuple[int, float | None, str]] = []
    tracker = Tracker(lambda *position: told.append(position) or True, lambda *lines: True, 500)
    outer, inner = Loop(2, "Files"), Loop(9, "Rows")

    def look() -> tuple[int, float | None, str]:
        tracker._look()
        return told[-1]

    tracker.enter(outer)
    outer.current = 1
    assert look() == (1, 2, "Files")
    tracker.enter(inner)
    inner.current = 5
    assert look() == (5, 9, "Rows")
    tracker.leave(inner)
    assert look() == (1, 2, "Files")
    tracker.stop(report=False)


def test_loops_one_after_the_other_begin_anew_each_with_its_own_total() -> None:
    told: list[tuple[int, float | None, str]] = []
    tracker = Tracker(lambda *position: told.append(position) or True, lambda *lines: True, 500)
    first, second = Loop(2, "First"), Loop(5, "Second")

    tracker.enter(first)
    first.current = 2
    tracker.leave(first)
    tracker.enter(second)
    tracker._look()
    assert told[-1] == (0, 5, "Second")

    second.current = 5
    tracker.leave(second)
    tracker.stop(report=True)
    assert told[-1] == (5, 5, "Second")


# -- lines -----------------------------------------------------------------------------------------


class Written:
    """What a tracker has written, and how often."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, list[tuple[str, str]]]] = []
        self.is_away = False
        self.is_refused = False
        self.tracker = Tracker(lambda *position: None, self.write, 500)

    def write(self, before: int, lines: Sequence[Line]) -> bool:
        if self.is_away:
            raise ConnectionError("away")
        if self.is_refused:
            return False
        self.batches.append((before, [(level, text) for _, level, text in lines]))
        return True

    @property
    def texts(self) -> list[str]:
        return [text for _, lines in self.batches for _, text in lines]


@pytest.fixture
def written() -> Written:
    return Written()


def test_lines_are_written_while_the_task_runs_and_the_last_ones_at_its_end(
    written: Written,
) -> None:
    written.tracker.log("one", "info")
    wait_until(lambda: written.texts == ["one"])
    written.tracker.log("two", "INFO")
    written.tracker.log("three", "warning")
    written.tracker.stop(report=False)

    assert written.texts == ["one", "two", "three"]
    assert written.batches[0][0] == 0
    assert [level for _, lines in written.batches for level, _ in lines] == [
        "info",
        "info",
        "warning",
    ]
    # Handlers that Celery calls after the end may log, too
    written.tracker.log("afterwards", "info")
    assert written.batches[-1] == (3, [("info", "afterwards")])


def test_a_tracker_that_has_nothing_to_do_has_no_thread() -> None:
    before = threading.active_count()
    tracker = Tracker(lambda *position: None, lambda *lines: True, 500)
    assert threading.active_count() == before
    tracker.stop(report=True)


def test_a_million_lines_are_few_writes_and_the_last_ones_are_kept_with_their_numbers(
    written: Written,
) -> None:
    for number in range(1_000_000):
        written.tracker.log(f"line {number}", "info")
    written.tracker.stop(report=False)

    for before, lines in written.batches:
        assert [text for _, text in lines] == [f"line {before + i}" for i in range(len(lines))]
    assert written.texts[-500:] == [f"line {n}" for n in range(999_500, 1_000_000)]
    assert len(written.batches) < 1000


def test_while_nothing_can_be_written_the_task_goes_on_and_the_newest_lines_are_written_later(
    written: Written,
) -> None:
    written.is_away = True
    for number in range(700):
        written.tracker.log(str(number), "info")
        written.tracker._look()
    written.is_away, written.is_refused = False, True
    written.tracker._look()
    written.is_refused = False
    written.tracker.log("700", "info")
    written.tracker.stop(report=False)

    (batch,) = written.batches
    assert batch == (201, [("info", str(number)) for number in range(201, 701)])


def test_threads_of_a_task_may_log_at_the_same_time(written: Written) -> None:
    def log(name: str) -> None:
        for number in range(100):
            written.tracker.log(f"{name} {number}", "info")

    threads = [threading.Thread(target=log, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written.tracker.stop(report=False)

    assert sorted(written.texts) == sorted(f"{name} {n}" for name in "abc" for n in range(100))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("two\nlines\n", ["two", "lines"]),
        ("", [""]),
        ("\n", [""]),
        ("a\tb", ["a\tb"]),
        ("50%\r60%", ["50%␍60%"]),
        ("\x1b[2J\x00\x7f\x9b", ["␛[2J␀␡\ufffd"]),
        ("ü → 🎉", ["ü → 🎉"]),
        ("x" * 5000, ["x" * 1000]),
        (42, ["42"]),
        (None, ["None"]),
    ],
)
def test_a_line_is_one_line_without_control_characters_and_not_too_long(
    written: Written, text: object, lines: list[str]
) -> None:
    written.tracker.log(text, "info")
    written.tracker.stop(report=False)
    assert written.texts == lines


def test_a_level_may_be_a_number_of_logging_and_nothing_as_a_level_stops_the_tracker(
    written: Written,
) -> None:
    for level in (logging.WARNING, None, ["odd"]):
        written.tracker.log("one", level)  # type: ignore[arg-type]
    written.tracker.log("two", "info")

    wait_until(lambda: len(written.texts) == 4)
    assert [level for _, batch in written.batches for level, _ in batch] == [
        *("warning", "none", "['odd']", "info"),
    ]
    written.tracker.stop(report=False)
