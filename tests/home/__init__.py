"""Somebody's own apps, which LongTask is a guest in: each folder is one, and beside them what is asked of them."""
