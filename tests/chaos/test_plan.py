"""That one seed makes one plan, with faults of every kind in it, and that what is left out is."""

from itertools import chain, pairwise

import pytest

from tests.chaos import plan
from tests.chaos.faults.poison import messages

HOUR = 3600


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_the_same_seed_makes_the_same_plan(broker: str) -> None:
    assert plan.make(7, 60, broker) == plan.make(7, 60, broker)
    assert plan.make(7, 60, broker) != plan.make(8, 60, broker)


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_in_an_hour_there_is_everything(broker: str) -> None:
    made = plan.make(7, HOUR, broker)

    starts = [*chain(*made.starts)]
    assert {start.kind for start in starts} == set(plan.KINDS)
    assert len({start.key for start in starts}) == len(starts)
    for part, (_, kinds) in plan.parts(broker).items():
        befalls = made.faults[part]
        assert {fault.kind for fault in befalls} == set(kinds)
        # One after the other
        assert all(one.at + one.lasts <= next_one.at + 0.1 for one, next_one in pairwise(befalls))
    assert ("rabbitmq" in made.faults) == (broker == "rabbitmq")


def test_what_is_left_out_is_not_there_and_the_rest_is() -> None:
    made = plan.make(7, HOUR, "redis", {"poison", "stubborn", "clock"})

    kinds = {fault.kind for fault in chain(*made.faults.values())}
    assert not kinds & {"poison", "clock"}
    assert {start.kind for start in chain(*made.starts)} == plan.KINDS.keys() - {"stubborn"}
    assert "lose" in kinds


def test_each_message_is_poison_of_its_own() -> None:
    assert len(set(messages().values())) == len(messages()) > 20
