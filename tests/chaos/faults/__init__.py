"""What breaks it: each kind of fault, by whom it befalls. When is for plan.py to say."""
