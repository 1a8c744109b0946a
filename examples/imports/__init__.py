"""Imports a CSV file into the database. This module has the names that the rest of the app uses.

The file waits in the database for a worker, which may run on another machine. The worker reads the file in batches.
Each batch is one transaction, which also stores how much of the file has been read. So the database is always in a
consistent state, which is shown, and from which another worker continues after a crash.
"""

from examples.imports.removal import clean_up
from examples.imports.routes import bp

__all__ = ["bp", "clean_up"]
