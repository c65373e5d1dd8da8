"""Changes that may help: what a change is, and how it is written into the files that people edit."""
