"""What the page is made of: how a template loads it, its texts, its types, and what it says of a worker's command."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, render_template_string

from flask_longtask import LongTask
from flask_longtask.web.routes import bp
from tests.processes import ROOT

STATIC = Path(str(bp.static_folder))
BARS = '{% from "longtask/bars.html" import bars %}{{ bars() }}'


@pytest.fixture
def own_app(redis_server: Any) -> Flask:
    """An app that has nothing yet but the extension."""
    app = Flask("own")
    app.config["CELERY"] = {
        "broker_url": redis_server.url(),
        "result_backend": redis_server.url(),
    }
    LongTask(app)
    return app


def rendered(app: Flask, template: str) -> str:
    with app.test_request_context():
        return render_template_string(template)


def script_tag(app: Flask) -> str:
    found = re.search(r"<script[^>]*longtask\.js[^>]*>", rendered(app, BARS))
    assert found
    return found[0]


def test_every_module_of_the_script_is_preloaded(own_app: Flask) -> None:
    named = re.findall(
        r'rel="modulepreload" href="/longtask/static/([^"]+)"', rendered(own_app, BARS)
    )
    found = [file.relative_to(STATIC).as_posix() for file in STATIC.rglob("*.js")]
    modules = [name for name in found if not name.startswith("operate/")]
    # Only the page of a task has the history.
    assert sorted([*named, "longtask.js", "drawing/history.js"]) == sorted(modules)


def test_the_head_to_include_is_what_the_macro_gives(own_app: Flask) -> None:
    assert rendered(own_app, '{% include "longtask/head.html" %}').strip() == rendered(
        own_app, BARS
    )


def test_the_extension_gives_no_variable_to_the_templates_of_the_app(own_app: Flask) -> None:
    bare = Flask("bare")
    ours = {"longtask_nanobar", "longtask_worker_command"}
    assert set(own_app.jinja_env.globals) - set(bare.jinja_env.globals) == ours
    assert len(own_app.template_context_processors[None]) == 1  # Flask's own


def test_every_tag_has_the_nonce_that_is_given(own_app: Flask) -> None:
    page = rendered(own_app, BARS.replace("bars()", 'bars(nonce="abc")'))
    assert len(re.findall("<(?:script|link)", page)) == page.count(' nonce="abc"')
    assert "nonce" not in rendered(own_app, BARS)


def test_nanobar_is_loaded_unless_it_is_not_wanted(own_app: Flask) -> None:
    assert "nanobar.min.js" in rendered(own_app, BARS)
    assert "nanobar.min.js" not in rendered(own_app, BARS.replace("bars()", "bars(nanobar=false)"))


def test_the_command_of_a_worker_is_named_only_where_the_app_has_given_it(own_app: Flask) -> None:
    assert "data-worker-command" not in script_tag(own_app)
    own_app.config["LONGTASK_WORKER_COMMAND"] = 'celery -A "my app" worker'
    assert 'data-worker-command="celery -A &#34;my app&#34; worker"' in script_tag(own_app)


def test_the_tab_remembers_what_it_has_started_only_where_the_server_does_not(
    own_app: Flask,
) -> None:
    assert "data-remember" in script_tag(own_app)
    own_app.config["SECRET_KEY"] = "a key"
    assert "data-remember" not in script_tag(own_app)


def texts_of_the_script() -> dict[str, str]:
    return dict(re.findall(r"^  (\w+): '(.*)',$", (STATIC / "strings.js").read_text(), re.M))


def texts_of_the_templates() -> dict[str, str]:
    template = (STATIC.parent / "templates/longtask/text.html").read_text()
    return dict(re.findall(r'^  "(\w+)": "(.*)",$', template, re.M))


def test_script_and_templates_say_the_same() -> None:
    script, templates = texts_of_the_script(), texts_of_the_templates()
    both = script.keys() & templates.keys()
    assert len(both) > 10
    assert {name: script[name] for name in both} == {name: templates[name] for name in both}


def test_every_text_of_the_script_is_used() -> None:
    scripts = "".join(
        file.read_text() for file in STATIC.rglob("*.js") if file.name != "strings.js"
    )
    assert "`${absence(task)}_message`" in scripts
    assert "`sum_${kind}`" in scripts
    for name in texts_of_the_script().keys() - {"locale"}:
        stem = name.removesuffix("_message").removeprefix("sum_")
        assert f"'{stem}'" in scripts, name


def test_the_reference_lists_every_text() -> None:
    reference = (ROOT / "docs/reference/javascript.md").read_text()
    table = reference.partition("| name | text |\n")[2]
    listed = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.M))
    texts = {**texts_of_the_templates(), **texts_of_the_script()}
    assert listed == {name: text for name, text in texts.items() if text}


def test_an_app_in_several_languages_gives_its_texts_by_a_function(own_app: Flask) -> None:
    shown = (
        '{% from "longtask/text.html" import text with context %}{{ text.cancel }} {{ text.done }}'
    )
    assert rendered(own_app, shown) == "Cancel Done"
    words = {"cancel": "Abbrechen"}
    own_app.config["LONGTASK_STRINGS"] = lambda: words
    shown = (
        '{% from "longtask/text.html" import text with context %}{{ text.cancel }} {{ text.done }}'
    )
    assert rendered(own_app, shown) == "Abbrechen Done"
    found = re.search(r'id="longtask-strings">(.*)</script>', rendered(own_app, BARS))
    assert found
    assert json.loads(found[1]) == words
    words = {"cancel": "Annuler</script>"}
    assert rendered(own_app, shown) == "Annuler&lt;/script&gt; Done"
    assert "Annuler</script>" not in rendered(own_app, BARS)


def test_the_types_are_what_a_user_of_the_script_needs() -> None:
    compiler = ROOT / "node_modules/.bin/tsc"
    if not compiler.exists() or not shutil.which("node"):
        pytest.skip("There is no TypeScript compiler: npm ci")
    options = "--noEmit --strict --target es2022 --module es2022 --moduleResolution bundler"
    command = [str(compiler), *options.split(), "--lib", "es2022,dom,dom.iterable"]
    compiled = subprocess.run(
        [*command, "tests/page/user.ts"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert compiled.returncode == 0, compiled.stdout


def test_the_types_name_what_the_script_exports() -> None:
    declared = re.findall(
        r"^export (?:function|class) (\w+)", (STATIC / "longtask.d.ts").read_text(), re.M
    )
    exported = re.findall(r"^export \{ (.*) \} from", (STATIC / "longtask.js").read_text(), re.M)
    assert sorted(declared) == sorted(", ".join(exported).split(", "))
