"""The runtime guard."""
