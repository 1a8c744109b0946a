"""The commands `flask longtask …`: each module registers its commands with the group when it is imported."""

from flask_longtask.cli import doctor, serving, tasks, watch
from flask_longtask.cli.group import cli

__all__ = ["cli", "doctor", "serving", "tasks", "watch"]
