"""What goes wrong in the world, done to real processes: docs/explanation/faults.md has the table."""
