"""Configures Sphinx: `sphinx-build -n -W docs build/docs` builds the documentation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

project = "Longtask"
project_copyright = "Longtask contributors"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

# Docstrings mark code with single backticks.
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"

nitpicky = True
# Names of other libraries: the build is offline, so it cannot link to their documentation.
nitpick_ignore_regex = [
    ("py:.*", r"(celery|collections|flask|kombu|redis|types|werkzeug|wsgiref)\..*"),
    # Type variables, and a class that Sphinx takes for Celery's.
    ("py:class", r"flask_longtask\..*\.(Celery|Item|Routes|View)"),
]

html_theme = "furo"
html_title = "Longtask"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
