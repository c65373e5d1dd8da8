"""Loaded models behind one small protocol."""
