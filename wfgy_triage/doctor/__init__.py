"""The doctor: named checks of the environment, the two folders and the loaded models. Imports no torch by itself."""
