"""Serves the other solutions in the same way as ours: with one gevent process."""

worker_class = "gevent"
workers = 1
worker_connections = 10_000
keepalive = 5
accesslog = None
control_socket_disable = True
