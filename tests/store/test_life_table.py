"""docs/explanation/life.md says what the code does."""

import pytest
from redis import Redis

from tests.store import life

#: The one that stands for Redis in the tests of an app takes ten times as long.
BOTH = ["redis", pytest.param("fakeredis", marks=pytest.mark.long)]


@pytest.mark.parametrize("redis", BOTH, indirect=True)
def test_the_document_has_the_tables_that_the_code_draws(redis: Redis) -> None:
    text = life.DOCUMENT.read_text()

    tables = life.draw(redis)

    assert life.drawn(text).splitlines() == tables.splitlines(), "python -m tests.store.life"


def test_every_table_has_every_state() -> None:
    text = life.DOCUMENT.read_text()
    assert text.count(life.BEGIN) == text.count(life.END) == 1
    # A column for each event, and a line for each state in each table.
    for events in (life.SENDERS, life.ATTEMPTS, life.OTHERS):
        assert f"| state | {' | '.join(events)} |" in text
    assert all(text.count(f"\n| **{state}** |") == 4 for state in life.STATES)
