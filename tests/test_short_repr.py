"""What is written of a task's arguments into its message: the same as by Celery."""

from typing import Any

import pytest
from celery.utils.saferepr import saferepr
from hypothesis import given
from hypothesis import strategies as some

from flask_longtask.celery.arguments import short_repr

LONGEST = 1024

atoms = some.one_of(
    some.none(), some.booleans(), some.integers(), some.floats(), some.text(max_size=40)
)


@given(
    some.one_of(
        some.lists(atoms), some.lists(atoms).map(tuple), some.dictionaries(some.text(), atoms)
    ),
    some.integers(1, 200),
)
def test_a_short_repr_is_celerys(arguments: Any, longest: int) -> None:
    assert short_repr(arguments, longest) in {None, saferepr(arguments, longest)}


@pytest.mark.parametrize(
    "arguments", [(), [], {}, (50, 1.5), ["a.csv", None, True], {"steps": 5, "delay": 0.1}]
)
def test_simple_arguments_have_a_short_repr(arguments: Any) -> None:
    assert short_repr(arguments, LONGEST) == saferepr(arguments, LONGEST)


class Secretive(list[str]):
    def __repr__(self) -> str:
        return "<secret>"


@pytest.mark.parametrize(
    "arguments",
    [
        *(([1],), {"a": {}}, (b"x",), ("it's",), ("\n",), Secretive(["a"]), "text", None),
        # Celery cuts off what is long, and does not look at the rest.
        *(["x" * 10_000_000], [10**5000], [0] * 1000, ["x" * 99] * 11),
    ],
    ids=lambda arguments: repr(arguments)[:20] if arguments != [10**5000] else "long",
)
def test_other_arguments_are_left_to_celery(arguments: Any) -> None:
    assert short_repr(arguments, LONGEST) is None
