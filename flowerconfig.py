"""Configures the dashboard, Flower: `celery -A celery_worker flower` reads this file automatically."""

from flower import command
from flower.app import Flower
from tornado.web import ErrorHandler
from werkzeug.wsgi import host_is_trusted

import config

port = config.FLOWER_PORT
address = config.FLOWER_ADDRESS
basic_auth = [config.FLOWER_BASIC_AUTH] if config.FLOWER_BASIC_AUTH else []


class _FlowerOfKnownHosts(Flower):
    """Refuses requests for unknown host names, as the app does: see TRUSTED_HOSTS in config.py.

    Flower has no such setting, and Tornado accepts any host name.
    """

    hosts = (*(config.TRUSTED_HOSTS or config.LOOPBACK_HOSTS), config.FLOWER_ADDRESS)

    def find_handler(self, request, **options):
        if host_is_trusted(request.host, self.hosts):
            return super().find_handler(request, **options)
        return self.get_handler_delegate(request, ErrorHandler, {"status_code": 400})


# Flower reads this file before it creates its app from this class.
command.Flower = _FlowerOfKnownHosts
