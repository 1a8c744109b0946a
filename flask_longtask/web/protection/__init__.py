"""The checks of a protected route: origin, token and idempotency key."""
