"""How Flower serves the dashboard: `celery -A celery_worker flower` reads this file by itself."""

import config

port = config.FLOWER_PORT
address = config.FLOWER_ADDRESS
basic_auth = [config.FLOWER_BASIC_AUTH] if config.FLOWER_BASIC_AUTH else []
