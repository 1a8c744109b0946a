"""What is kept about the clients of a web app: their idempotency keys, lists of tasks, and wrong tokens."""
