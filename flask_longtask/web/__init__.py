"""HTTP: what clients ask for and what they are answered. What is kept of tasks is read and written elsewhere."""
