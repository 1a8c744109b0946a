"""What belongs to the scripts of the project's folder and is written in Python."""
