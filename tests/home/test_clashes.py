"""Which routes of an app may clash with ours. What then happens is in test_any_task.py and test_apps.py."""

import pytest
from werkzeug.routing import Rule

from flask_longtask.web.clashes import _may_clash


@pytest.mark.parametrize(
    ("own", "may_clash"),
    [
        ("/tasks", True),
        ("/tasks/", True),
        ("/<name>", True),
        ("/<name>/<int:number>", False),
        ("/tasks/<task_id>", False),
        ("/tasks/<path:page>", False),
        ("/<path:page>", True),
        ("/<any('tasks', 'jobs'):name>", True),
        ("/<int:a>-<path:b>", True),
        ("/<slug:page>", True),  # a converter of the app's own, which may match slashes
        ("/task", False),
        ("/", False),
    ],
)
def test_rules_clash_that_may_match_the_same_address(own: str, may_clash: bool) -> None:
    ours = Rule("/tasks", endpoint="longtask.tasks", methods=["GET"])

    assert _may_clash(ours, Rule(own, endpoint="own", methods=["GET"])) is may_clash
    assert _may_clash(ours, Rule(own, endpoint="own")) is may_clash
    assert not _may_clash(ours, Rule(own, endpoint="own", methods=["POST"]))
