"""Kombu and the brokers: how messages are pushed, taken and counted. Tasks are handled elsewhere."""
