"""A CSV file is read into the database, and can be looked at while it is. Here: what the rest of the app uses.

The file waits in the database for its worker, which may run on another machine. The worker reads it in
batches, and each batch is one transaction that also notes how far the file has been read. So there is
always one state that holds together: it is what is shown, and where another worker reads on after a crash.
"""

from examples.imports.removal import clean_up
from examples.imports.routes import bp

__all__ = ["bp", "clean_up"]
