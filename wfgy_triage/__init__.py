"""Guided, measured triage of ExLlamaV2 (EXL2) models against their FP16 baseline.

Importing the package loads no model library: torch, transformers and gradio are
imported by the modules that need them.
"""

import os

# Threads of torch's kernels wait without spinning: on a machine that also serves the page, spinning made the same work
# several times slower. Read once, when torch is loaded; a value set by the user stays.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
