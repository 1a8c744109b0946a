"""What goes wrong in the world, done to real processes: docs/faults.md has the table."""
