"""Who may do what: the table itself, and the words of a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfgy_triage import access
from wfgy_triage.access import LOCAL, NOBODY, Action, Actor, Role, command_line, demand, may, rules_table
from wfgy_triage.errors import AccessDenied
from wfgy_triage.settings import REPO_ROOT

READING = {Action.READ, Action.EXPORT}
UNOWNED = {Action.START, Action.UPLOAD, Action.IMPORT, Action.COMMENT}
OWNED = {Action.CANCEL, Action.RESUME, Action.DESCRIBE, Action.SHARE, Action.UNSHARE, Action.DELETE}

names = st.text(max_size=12)
roles, actions = st.sampled_from(Role), st.sampled_from(Action)


def test_what_each_role_may_written_out():
    everything = set(Action)
    for role, anyones, own in (
        (Role.NONE, set(), set()),
        (Role.VIEWER, READING, READING),
        (
            Role.OPERATOR,
            READING | {Action.START, Action.UPLOAD, Action.IMPORT, Action.COMMENT},
            everything - {Action.AUDIT},
        ),
        (Role.ADMIN, everything, everything),
    ):
        actor = Actor("maker", role)
        assert {a for a in Action if may(actor, a, "reader")} == anyones
        assert {a for a in Action if may(actor, a, "maker")} == own


@given(names, roles, actions, st.one_of(st.none(), names))
def test_a_higher_role_may_all_that_a_lower_one_may(name, role, action, owner):
    ranks = list(Role)
    higher = ranks[ranks.index(role) :]
    if may(Actor(name, role), action, owner):
        assert all(may(Actor(name, h), action, owner) for h in higher)


@given(names, names, roles, actions)
def test_whose_it_is_only_ever_helps_the_owner(name, owner, role, action):
    actor = Actor(name, role)
    if may(actor, action, owner) and not may(actor, action):
        assert owner == name != ""


@given(actions, st.one_of(st.none(), names))
def test_nobody_may_nothing_and_owns_nothing(action, owner):
    assert not may(NOBODY, action, owner)
    assert not may(Actor("", Role.OPERATOR), Action.DELETE, "")


@given(names, roles, actions, names)
def test_demand_says_the_same_as_may(name, role, action, owner):
    actor = Actor(name, role)
    if may(actor, action, owner):
        demand(actor, action, owner)
    else:
        with pytest.raises(AccessDenied) as caught:
            demand(actor, action, owner)
        assert caught.value.message
        assert caught.value.hint


def test_a_refusal_says_whose_it_is_or_which_role_would_do():
    with pytest.raises(AccessDenied, match="belongs to reader"):
        demand(Actor("maker", Role.OPERATOR), Action.DELETE, "reader")
    with pytest.raises(AccessDenied, match="Nobody is known"):
        demand(Actor("maker", Role.OPERATOR), Action.DELETE, "")
    with pytest.raises(AccessDenied, match="the role operator"):
        demand(Actor("maker", Role.VIEWER), Action.DELETE, "maker")
    with pytest.raises(AccessDenied, match="signed in"):
        demand(NOBODY, Action.READ)


def test_the_documentation_has_the_table():
    assert rules_table() in (REPO_ROOT / "docs" / "people.md").read_text(encoding="utf-8")


def test_the_page_without_users_and_the_command_line_may_everything(monkeypatch: pytest.MonkeyPatch):
    assert LOCAL.role is command_line().role is Role.ADMIN

    def no_name() -> str:
        raise KeyError("uid")

    monkeypatch.setattr(access.getpass, "getuser", no_name)
    assert command_line().name == "command line"
