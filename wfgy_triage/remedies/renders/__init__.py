"""A patch as the files that people really edit: one renderer a target, none where a target cannot express it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wfgy_triage.remedies.facts import Facts
from wfgy_triage.remedies.patch import Patch, Share, share_of
from wfgy_triage.remedies.renders import json_files, python, requirements, retrieval, shell, yaml_files
from wfgy_triage.remedies.vocabulary import load_vocabulary

_RENDERERS: Mapping[str, Callable[[Share, Facts], str | None]] = {
    "tabbyapi": yaml_files.tabbyapi,
    "sampler_preset": yaml_files.sampler_preset,
    "python": python.script,
    "retrieval": retrieval.script,
    "shell": shell.commands,
    "config_json": json_files.config,
    "generation_config": json_files.generation_config,
    "requirements": requirements.lines,
}


def render(patch: Patch, facts: Facts) -> dict[str, str | None]:
    """A patch in every target.

    Args:
        patch: the change.
        facts: what is known of the deployment.

    Returns:
        By target id, in the order of the vocabulary: the file's text, or None where the target cannot express any of
        the patch. `share_of` tells what a target leaves out when it expresses only a part.
    """
    return {target: _rendered(share_of(patch, target), facts) for target in load_vocabulary().targets}


def _rendered(share: Share, facts: Facts) -> str | None:
    return _RENDERERS[share.target.id](share, facts) if share.values else None
