"""Changes that a run tries after a FAIL, one at a time."""
