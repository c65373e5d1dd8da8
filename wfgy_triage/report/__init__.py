"""What a result looks like: pure renderers and chart builders, free of any web framework."""
