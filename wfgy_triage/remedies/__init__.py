"""Changes that a run tries on the loaded models before it recommends one."""
