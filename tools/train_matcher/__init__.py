"""Train the matcher of free text: `python -m tools.train_matcher`."""
