"""What is said of it afterwards: the evidence, the judge, and the report. Nothing here asks a process."""
