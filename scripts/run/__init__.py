"""Runs the Procfile's processes in one terminal: what run.sh does once everything is installed."""
