"""The pages: the guided triage at `/`, the recorded sessions at `/runs`."""
