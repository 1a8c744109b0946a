"""What a chaos run breaks: the processes, the app's routes and tasks, and the notebook of what those did."""
