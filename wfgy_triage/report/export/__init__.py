"""A recorded session as files that leave the program: pure functions, no torch, no database."""
