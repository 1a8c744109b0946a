"""An app for the tests of the page, with several forms, content security policies, German texts and mount points."""
