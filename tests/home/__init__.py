"""Users' apps with LongTask. Each folder is an app; the tests are beside them."""
