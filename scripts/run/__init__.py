"""Runs the processes of the Procfile in one terminal. run.sh installs everything and then runs this."""
