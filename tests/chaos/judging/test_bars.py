"""That a bar which goes back is seen, and one that only seems to is not."""

from typing import Any

import pytest

from tests.chaos.judging.bars import Bars, Sight, goes_back


def status(
    state: str = "PROGRESS", current: int = 0, attempt: int = 1, **more: Any
) -> dict[str, Any]:
    finished = None if state in ("PENDING", "PROGRESS", "RETRY") else "2030-01-01T00:00:00+00:00"
    told = {"state": state, "current": current, "total": 10, "percent": 10 * current}
    return {**told, "status": "", "attempt": attempt, "finished": finished, **more}


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (status("SUCCESS"), status("PROGRESS"), "it had ended"),
        (status("SUCCESS"), status("FAILURE"), "it had ended"),
        (status("REVOKED"), status("SUCCESS"), "it had ended"),
        (status("REVOKED"), status("PENDING"), "it had ended"),
        (status("SUCCESS"), status("SUCCESS", finished="2031-01-01T00:00:00+00:00"), "finished"),
        (status(attempt=2), status(attempt=1), "attempt 2 became 1"),
        (status(attempt=2), status("FAILURE", attempt=1), "attempt 2 became 1"),
        (status(attempt=2), status("PENDING", attempt=1), "attempt 2 became 1"),
        (status(current=3), status(current=2), "current 3 became 2"),
        (status(current=3), status("FAILURE", current=0), "current 3 became 0"),
        (status(current=3), status("RETRY", current=0), "current 3 became 0"),
    ],
)
def test_what_goes_back_is_told(
    before: dict[str, Any], after: dict[str, Any], complaint: str
) -> None:
    assert complaint in goes_back(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (status(current=3), status(current=3)),
        (status(current=3), status(current=4)),
        (status(current=3), status(current=0, attempt=2)),
        # Handed back: it waits, and its bar begins anew with the next attempt
        (status(current=3), status("PENDING")),
        (status("PENDING", attempt=0), status()),
        (status(current=3), status("SUCCESS", current=10)),
        # A cancelled task that runs on says so, until it has ended
        (status("REVOKED", status="It runs on"), status("REVOKED", status="Cancelled")),
    ],
)
def test_what_goes_on_is_not(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert goes_back(before, after) == ""


def test_of_two_answers_under_way_at_the_same_time_none_is_the_later_one() -> None:
    bars = Bars()
    bars.see("one", Sight(10.0, 10.3, status(current=3)))
    bars.see("one", Sight(10.2, 10.4, status(current=2)))
    assert bars.complaints == []


def test_an_answer_that_was_asked_for_after_another_was_there_is() -> None:
    bars = Bars()
    bars.see("one", Sight(10.0, 10.3, status(current=3)))
    bars.see("other", Sight(10.4, 10.5, status(current=0)))
    assert bars.complaints == []
    bars.see("one", Sight(10.4, 10.5, status(current=2)))
    assert bars.complaints == [("one", 10.5, "current 3 became 2 in attempt 1")]


def test_the_furthest_counts_and_not_the_last() -> None:
    bars = Bars()
    bars.see("one", Sight(10.0, 10.1, status("SUCCESS")))
    bars.see("one", Sight(10.0, 10.2, status(current=3)))  # asked before the end was told
    assert bars.complaints == []
    bars.see("one", Sight(10.3, 10.4, status(current=4)))
    assert [complaint for *_, complaint in bars.complaints] == [
        "it had ended: state 'SUCCESS' became 'PROGRESS'"
    ]


def test_what_a_stream_says_is_later_than_what_it_said_before() -> None:
    bars = Bars()
    bars.see("one", Sight(10.0, 10.1, status(current=3)))
    bars.see("one", Sight(10.0, 10.2, status(current=2)), previous=status(current=3))
    assert len(bars.complaints) == 1


def test_what_was_told_last_is_by_when_it_was_asked() -> None:
    bars = Bars()
    bars.see("one", Sight(10.0, 10.1, status("SUCCESS")))
    bars.see("one", Sight(9.0, 10.2, status(current=3)))
    last = bars.last("one")
    assert last
    assert last["state"] == "SUCCESS"
    assert bars.ended == {"one": 10.1}
    assert not bars.is_open("one")
