"""The operators' page: all tasks, workers and queues of an app. How its bars look is in the page's folder."""
