"""HTTP: requests and answers. The store reads and writes what is kept about tasks."""
