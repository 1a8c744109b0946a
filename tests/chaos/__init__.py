"""Chaos as a command: a whole system under random faults, and a judge of what clients were told. See __main__.py."""
