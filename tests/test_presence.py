"""How old what a process tells about the workers may be."""

from typing import Any

import pytest

from flask_longtask import presence
from flask_longtask.presence import CACHED, Board, Presence


@pytest.mark.parametrize(("age", "told"), [(1.5 * CACHED, 1), (3 * CACHED, 3)])
def test_who_comes_while_another_looks_is_told_what_was_seen_before_unless_that_is_too_old(
    monkeypatch: pytest.MonkeyPatch, age: float, told: int
) -> None:
    # Given a process that has seen one worker, some time ago
    board, clock, looks = Board(), [100.0], 0
    meanwhile: list[int] = []

    def read(client: Any, queues: Any) -> Presence:
        nonlocal looks
        looks += 1
        look = looks
        if look == 2:  # somebody else asks during the second look
            meanwhile.append(len(board.look(client, queues).workers))
        return Presence(frozenset(map(str, range(look))), frozenset(), {})

    monkeypatch.setattr(presence, "read", read)
    monkeypatch.setattr("flask_longtask.presence.time.monotonic", lambda: clock[0])
    client: Any = None
    assert len(board.look(client, []).workers) == 1

    # When two ask at the same moment
    clock[0] += age
    board.look(client, [])

    assert meanwhile == [told]
