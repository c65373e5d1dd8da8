"""Chat templates come with models, and models from anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.doctor.conftest import copy_with, healthy  # noqa: F401 - fixtures
from wfgy_triage.doctor.finding import Outcome
from wfgy_triage.doctor.folders import check_folders
from wfgy_triage.pairs import Pair

REACHING = (
    "{{ cycler.__init__.__globals__.os.system('touch TARGET') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__.__init__.__globals__['__builtins__']['open']('TARGET', 'w') }}",
    "{% for m in messages %}{{ m.update({'content': 'changed'}) }}{% endfor %}",
)


@pytest.mark.parametrize("template", REACHING)
def test_a_template_reaches_no_python(
    template: str,
    copy_with: Callable[..., Pair],  # noqa: F811
    tmp_path: Path,
) -> None:
    target = tmp_path / "made-by-a-template"
    text = template.replace("TARGET", str(target))
    pair = copy_with(lambda fp16, exl2: (exl2 / "chat_template.jinja").write_text(text, "utf-8"))
    findings = {f.check: f for f in check_folders(pair)}
    assert not target.exists()
    assert findings["same_chat_template"].state is Outcome.FAIL
    assert "changed" not in str([f.to_json() for f in findings.values()]).replace(text, "")
