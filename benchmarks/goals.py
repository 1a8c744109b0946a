"""The goals of the benchmarks: each with its number and its unit, once."""

from benchmarks.table import Goal

POLL_TO_CONSTANT = Goal("at least", 0.75, "of the constant route")
POLL_TO_ONE_READ = Goal("at least", 1.4, "times the one read")
PAGE = Goal("at least", 40, "times the best of the others")

START = Goal("at least", 1.2, "of Flask's example")
DELAY = Goal("at least", 1.5, "times bare Celery")

UPDATE = Goal("at most", 0.5, "of Celery's")
UPDATE_OF_A_PART = Goal("at most", 1.2, "of one without a family")
TRACK = Goal("at most", 1, "of tqdm's")
LOG = Goal("at most", 1, "of a flushed line of a file")

DELAY_OF_A_CHANGE = Goal("under", 50, "ms")
STALLED_READERS = Goal("at most", 1.2, "of without")
STREAMS = Goal("under", 300, "MB")

WORKER = Goal("under", 250, "MB")

INTO_SQLITE = Goal("at least", 100_000, "rows/s")
INTO_POSTGRES = Goal("at least", 150_000, "rows/s")

RECORD = Goal("at most", 1024, "bytes")
#: Not slower. Two equal runs may differ by 5 %.
CROWDED = Goal("at least", 0.95, "of without")
