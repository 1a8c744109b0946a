"""docs/explanation/security.md says for each threat which test shows what stands against it: these tests are there."""

import re

import pytest

from tests.processes import ROOT

TEXT = (ROOT / "docs" / "explanation" / "security.md").read_text()
THREATS = re.findall(r"^\| (?!threat|---)(.+?) \| .+ \| (.+) \|$", TEXT, re.MULTILINE)


def test_the_document_has_its_threats() -> None:
    assert len(THREATS) > 30


@pytest.mark.parametrize(("threat", "shown_by"), THREATS, ids=[threat for threat, _ in THREATS])
def test_what_shows_it_is_there(threat: str, shown_by: str) -> None:
    files = re.findall(r"`((?:faults/|operate/)?test_\w+\.py)`((?:(?:: |, )`\w+`)*)", shown_by)
    assert files or "tests.chaos" in shown_by, f"No test shows it: {threat}"
    for file, words in files:
        names = re.findall(r"^def (test_\w+)", (ROOT / "tests" / file).read_text(), re.MULTILINE)
        assert names, file
        for word in re.findall(r"\w+", words):
            assert any(word in name for name in names), f"{file} has no test with {word}"
