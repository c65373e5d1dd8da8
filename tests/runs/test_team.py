"""Who may come in, and as what: what the environment and the list of users say."""

from __future__ import annotations

import os

import pytest
import yaml

from tests.people import MAKER, TEAM, write_team
from wfgy_triage.access import Actor, Role
from wfgy_triage.errors import AccessDenied, InputError, PrerequisiteError
from wfgy_triage.runs.sign_in import SignInDesk
from wfgy_triage.runs.team import Mode, Team, load_team
from wfgy_triage.settings import load_settings
from wfgy_triage.users import UsersFile

SPACE = {"SPACE_ID": "someone/triage", "SYSTEM": "spaces"}
OAUTH = {**SPACE, "OAUTH_CLIENT_ID": "id"}
ADMINS = {"WFGY_TRIAGE_ADMINS": "maker"}


@pytest.fixture
def file(settings) -> UsersFile:
    return UsersFile(write_team(settings.home / "users.yaml"))


@pytest.mark.parametrize(
    ("environment", "host", "team"),
    [
        ({}, "127.0.0.1", Team()),
        ({}, "localhost", Team()),
        ({}, "::1", Team()),
        ({}, "0.0.0.0", Team(exposed=True)),  # noqa: S104
        ({}, "triage.example", Team(exposed=True)),
        (SPACE, "0.0.0.0", Team(Mode.VISITORS, Role.OPERATOR)),  # noqa: S104
        ({**SPACE, "WFGY_TRIAGE_ANONYMOUS": "viewer"}, "0.0.0.0", Team(Mode.VISITORS, Role.VIEWER)),  # noqa: S104
        ({"WFGY_TRIAGE_ANONYMOUS": "viewer"}, "127.0.0.1", Team(Mode.VISITORS, Role.VIEWER)),
        (OAUTH, "0.0.0.0", Team(Mode.HUGGING_FACE, admins=frozenset({"someone"}))),  # noqa: S104
    ],
)
def test_without_a_list_of_users(settings, environment, host, team):
    there = load_settings(home=settings.home, host=host)
    assert load_team(there, environment) == team


def test_with_a_list_of_users(settings, file):
    for environment, mode, anonymous in (
        ({}, Mode.PASSWORDS, Role.NONE),
        (SPACE, Mode.PASSWORDS, Role.NONE),
        ({"WFGY_TRIAGE_ANONYMOUS": "viewer"}, Mode.PASSWORDS, Role.VIEWER),
        (OAUTH, Mode.HUGGING_FACE, Role.NONE),
    ):
        team = load_team(settings, environment)
        assert (team.mode, team.anonymous) == (mode, anonymous)
        assert team.users is not None
        assert set(team.users.now().by_name) == {a.name for a in TEAM}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WFGY_TRIAGE_USERS": "/nowhere/users.yaml"}, "cannot be read"),
        ({"WFGY_TRIAGE_ANONYMOUS": "admin"}, "is 'admin'"),
        ({"WFGY_TRIAGE_ANONYMOUS": "none"}, "nobody can sign in"),
        ({"OAUTH_CLIENT_ID": "id"}, "on a Space only"),
        ({"OAUTH_CLIENT_ID": "id", "SPACE_ID": "x/y"}, "on a Space only"),
        ({"OAUTH_CLIENT_ID": "id", **ADMINS}, "on a Space only"),
        (ADMINS, "WFGY_TRIAGE_ADMINS is set"),
        ({**SPACE, **ADMINS}, "WFGY_TRIAGE_ADMINS is set"),
        ({**OAUTH, "WFGY_TRIAGE_ADMINS": "maker;reader"}, "'maker;reader' cannot be a user's name"),
        ({**OAUTH, "WFGY_TRIAGE_ADMINS": "maker, a name"}, "'a name' cannot be"),
    ],
)
def test_what_would_leave_the_door_open_or_shut_is_an_error_at_the_start(settings, environment, message):
    with pytest.raises((InputError, PrerequisiteError), match=message):
        load_team(settings, environment)


@pytest.mark.parametrize("content", ["", "users: [", "users: []"])
def test_a_list_that_is_there_and_no_use_is_an_error_at_the_start(settings, content):
    path = settings.home / "users.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    with pytest.raises(PrerequisiteError):
        load_team(settings, {})
    path.unlink()
    os.symlink(settings.home / "gone.yaml", path)
    with pytest.raises(PrerequisiteError):
        load_team(settings, {})


def test_an_account_has_the_role_of_the_list_or_that_of_others(settings, database):
    path = settings.home / "users.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    assert SignInDesk(load_team(settings, OAUTH), database).from_hugging_face("Maker") == MAKER
    for others, role in (("viewer", Role.VIEWER), ("none", Role.NONE)):
        path.write_text(yaml.safe_dump({"users": [{"name": "chief", "role": "admin"}], "others": others}))
        desk = SignInDesk(load_team(settings, OAUTH), database)
        assert desk.from_hugging_face("Chief") == Actor("chief", Role.ADMIN)
        assert desk.from_hugging_face("maker") == Actor("maker", role)
        with pytest.raises(AccessDenied):
            desk.sign_in("chief", "", "192.0.2.1")


@pytest.mark.parametrize(
    ("environment", "admins"),
    [
        (OAUTH, {"someone"}),
        (
            {**OAUTH, "SPACE_ID": "An-Organisation/triage", "WFGY_TRIAGE_ADMINS": " Maker,reader, "},
            {"maker", "reader"},
        ),
        ({**OAUTH, "WFGY_TRIAGE_ADMINS": "maker"}, {"maker", "someone"}),
        ({**OAUTH, "SPACE_ID": "triage"}, set()),
    ],
)
def test_without_a_list_the_owner_of_a_space_is_an_admin_and_whom_the_setting_names(
    settings, database, environment, admins
):
    desk = SignInDesk(load_team(settings, environment), database)
    for account in ("Someone", "Maker", "READER", "vera", "some", "triage"):
        name = account.lower()
        assert desk.from_hugging_face(account) == Actor(name, Role.ADMIN if name in admins else Role.OPERATOR)


def test_a_list_of_users_alone_says_who_is_an_admin(settings, database):
    write_team(settings.home / "users.yaml", (Actor("someone", Role.VIEWER),))
    desk = SignInDesk(load_team(settings, OAUTH), database)
    assert desk.from_hugging_face("someone").role is Role.VIEWER, "the owner of the Space, too"
    for environment in (OAUTH, SPACE, {}):
        with pytest.raises(InputError, match="WFGY_TRIAGE_ADMINS is set"):
            load_team(settings, {**environment, **ADMINS})
