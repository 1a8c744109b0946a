"""Real faults, applied to real processes: docs/explanation/faults.md has the table."""
