"""Changing a text that somebody else wrote, and nothing but the place that has to change."""
