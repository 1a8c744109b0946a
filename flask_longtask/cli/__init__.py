"""The commands `flask longtask …`: one module for each kind, registered with the group when it is imported."""

from flask_longtask.cli import doctor, serving, tasks, watch
from flask_longtask.cli.group import cli

__all__ = ["cli", "doctor", "serving", "tasks", "watch"]
