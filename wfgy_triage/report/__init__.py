"""Renderings of a stored result: charts and exports."""
