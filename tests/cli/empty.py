"""An app without Longtask, in an environment where it is installed."""

from flask import Flask

app = Flask(__name__)
