"""Guided, measured triage of ExLlamaV2 (EXL2) models against their FP16 baseline.

Importing the package loads no model library: torch, transformers and gradio are
imported by the modules that need them.
"""

__version__ = "0.1.0"
