"""A minute of chaos with each broker, as `python -m tests.chaos` makes it, with a new seed each time."""

import random
from pathlib import Path

import pytest

from tests.chaos.judging import report
from tests.chaos.run import PEACE, run

SECONDS = 60


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(SECONDS + PEACE + 120)
@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_whatever_is_broken_the_bar_never_lies(broker: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)

    verdict = run(broker, seed, SECONDS, tmp_path)

    assert not verdict.violations, "\n".join(report.lines(verdict, tmp_path))
    assert sum(len(tolds) for tolds in verdict.evidence.told.values()) > SECONDS / 2
    assert len(verdict.evidence.blows) > SECONDS / 10
