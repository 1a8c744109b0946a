"""What the loops of a task report, without a task."""

from flask_longtask.tracker import Loop, Tracker


def test_a_loop_inside_a_loop_is_told_while_it_lasts_and_then_the_outer_one_again() -> None:
    told: list[tuple[int, float | None, str]] = []
    tracker = Tracker(lambda *position: told.append(position) or True)
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
    tracker = Tracker(lambda *position: told.append(position) or True)
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
