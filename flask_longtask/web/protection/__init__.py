"""What a protected route asks of a request. What such a route does is none of its business."""
