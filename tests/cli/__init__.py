"""The command line, `flask longtask …`: run as a user does, against a real Redis and a real worker."""
