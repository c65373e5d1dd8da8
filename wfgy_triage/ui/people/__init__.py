"""People on the page: who asks, the door, signing in, and what is shown to whom."""
