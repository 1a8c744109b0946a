"""Whatever is stored as a record, what is read of it has the right types."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_longtask.record import Record, load_record


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (None, None),
        (b"", None),
        (b"[]", None),
        (b"\xff", None),
        (b"{", None),
        (b"[" * 100_000, None),
        (b"{}", {}),
        (b'{"attempt": 2, "started": 7, "task": "shop.pack"}', {"attempt": 2, "started": 7.0, "task": "shop.pack"}),
        (b'{"unknown": 1, "attempt": 2}', {"attempt": 2}),
        (b'{"attempt": -1, "started": "12:00", "task": null, "lost": 1}', {"lost": 1}),
        (b'{"attempt": true, "queue": "celery"}', {"queue": "celery"}),
        (b'{"started": NaN, "ended": 1e999, "eta": 5}', {"eta": 5.0}),
        (b'{"task": "\xff", "eta": 5}', None),
        (b'{"parts": {"total": 3, "culprit": {"number": 1}}}', {"parts": {"total": 3, "culprit": {"number": 1}}}),
        (b'{"parts": {"total": "three"}, "eta": 5}', {"eta": 5.0}),
    ],
)  # fmt: skip
def test_a_field_of_the_wrong_type_is_absent(stored: bytes | None, read: Any) -> None:
    assert load_record(stored) == read


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(Record.__annotations__)), anything))
def test_whatever_is_stored_a_record_has_the_types_of_its_fields(stored: dict[str, Any]) -> None:
    record = load_record(json.dumps(stored))

    assert record is not None
    assert msgspec.convert(record, Record) == record
    assert json.dumps(record, allow_nan=False)
