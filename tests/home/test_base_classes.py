"""Base classes for tasks that were written for plain Celery still work."""

from collections.abc import Callable
from typing import Any, ClassVar

import celery
from flask import Flask

Guest = Callable[..., Flask]


class Named(celery.Task):
    """Has attributes with names that the extension might use, too."""

    said: ClassVar[list[Any]] = []

    def _run(self, what: str) -> str:
        return f"ran {what}"

    def track(self, event: str) -> str:
        return f"tracked {event}"

    def delay_on_commit(self) -> str:
        return "on commit"

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        self.said.append(kwargs.get("meta"))
        super().update_state(*args, **kwargs)


class Debounced(celery.Task):
    def apply_async(self, *args: Any, **kwargs: Any) -> None:
        return None


class Kind(celery.Task):
    def __init_subclass__(cls, *, kind: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        if not kind and cls.__name__ == "Sorted":
            raise TypeError("what kind?")


class Sorted(Kind, kind="sorted"):
    name = "home.sorted"

    def run(self) -> str:
        return "sorted"


def test_names_of_its_authors_are_theirs(guest: Guest) -> None:
    app = guest()
    celery_app = app.extensions["celery"]
    celery_app.conf.task_always_eager = True

    @celery_app.task(base=Named, bind=True)
    def named(self: Any) -> list[str]:
        self.update_state(meta={"current": 1, "total": 2})
        return [self._run("x"), self.track("y"), self.delay_on_commit()]

    with app.app_context():
        result = named.delay()
        assert result.get() == ["ran x", "tracked y", "on commit"]
        status = celery_app.backend.describe([result.id])[result.id]
    assert Named.said == [{"current": 1, "total": 2}]
    assert status["state"] == "SUCCESS"


def test_a_task_that_is_not_always_sent_is_sent_as_its_author_says(guest: Guest) -> None:
    celery_app = guest().extensions["celery"]

    @celery_app.task(base=Debounced)
    def debounced() -> None: ...

    assert debounced.delay() is None
    debounced.store_eager_result = True
    assert debounced.store_eager_result is True


def test_a_class_with_arguments_is_not_made_again_without_them(guest: Guest) -> None:
    celery_app = guest().extensions["celery"]

    task = celery_app.register_task(Sorted())

    assert task() == "sorted"
