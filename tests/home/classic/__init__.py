"""An app and a page as in the classic tutorial: a task that reports, a route that starts it, a page that polls."""
