"""Question sets that probes share: what is asked, what the right answer is, and how it is put to a model."""
