"""An app of its own for the tests of the page: several forms, policies for scripts, a German page, mount points."""
