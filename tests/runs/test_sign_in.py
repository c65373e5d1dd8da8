"""Signing in: passwords, holding off guesses, and what stays over a restart."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import yaml

from tests.people import MAKER, PASSWORD, write_team
from wfgy_triage.access import Actor, Role
from wfgy_triage.errors import AccessDenied, PrerequisiteError
from wfgy_triage.runs import sign_in as desk_module
from wfgy_triage.runs.sign_in import MOST_WAITING, UNKNOWN, SignInDesk, network_of
from wfgy_triage.runs.team import load_team
from wfgy_triage.settings import Settings
from wfgy_triage.store import sign_ins as sign_ins_module
from wfgy_triage.store.audit import AuditRepository
from wfgy_triage.store.database import Database, open_database
from wfgy_triage.store.sign_ins import LASTS, MOST_FOR_NAME, MOST_FROM_ADDRESS, WINDOW
from wfgy_triage.users import UsersFile

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def file(settings: Settings) -> UsersFile:
    return UsersFile(write_team(settings.home / "users.yaml"))


@pytest.fixture
def database(settings: Settings):
    opened = open_database(settings.database_url)
    yield opened
    opened.close()


@pytest.fixture
def desk(settings: Settings, file: UsersFile, database: Database) -> SignInDesk:
    return SignInDesk(load_team(settings, {}), database)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Moves the store's time forward."""
    real, passed = sign_ins_module.now, [timedelta()]
    for module in (sign_ins_module, desk_module):
        monkeypatch.setattr(module, "now", lambda: real() + passed[0])

    def forward(by: timedelta) -> None:
        passed[0] += by

    return forward


def wrong(desk: SignInDesk, name: str = "maker", address: str = HERE, times: int = 1) -> str:
    said = ""
    for _ in range(times):
        with pytest.raises(AccessDenied) as caught:
            desk.sign_in(name, "not the password", address)
        said = str(caught.value)
    return said


def trail(database: Database) -> list[tuple[str, str]]:
    return [(e.who, e.action) for e in reversed(AuditRepository(database).last(100))]


def test_a_password_signs_in_and_out(desk, database):
    token = desk.sign_in(" Maker ", PASSWORD, HERE)
    assert desk.who(token) == MAKER
    assert desk.who(token + "x") is None
    desk.sign_out(token, MAKER)
    assert desk.who(token) is None
    assert trail(database) == [("maker", "sign-in"), ("maker", "sign-out")]


def test_the_token_is_not_in_the_database_and_lives_over_a_restart(settings, file, database):
    token = SignInDesk(load_team(settings, {}), database).sign_in("maker", PASSWORD, HERE)
    with database.engine.connect() as connection:
        dump = "".join(connection.connection.driver_connection.iterdump())
    assert token not in dump
    assert PASSWORD not in dump
    assert SignInDesk(load_team(settings, {}), database).who(token) == MAKER


def test_a_sign_in_ends(desk, clock):
    token = desk.sign_in("maker", PASSWORD, HERE)
    clock(LASTS - timedelta(seconds=5))
    assert desk.who(token) == MAKER
    clock(timedelta(seconds=10))
    assert desk.who(token) is None


def test_another_role_another_password_and_a_removal_count_at_once(desk, file):
    token = desk.sign_in("maker", PASSWORD, HERE)
    write_team(file.path, (Actor("maker", Role.VIEWER),))  # a new hash: the same password was set again
    assert desk.who(token) is None
    token = desk.sign_in("maker", PASSWORD, HERE)
    data = yaml.safe_load(file.path.read_text())
    data["users"][0]["role"] = "admin"
    file.path.write_text(yaml.safe_dump(data))
    assert desk.who(token) == Actor("maker", Role.ADMIN)
    file.path.write_text(yaml.safe_dump({"users": [], "others": "viewer"}))
    assert desk.who(token) is None


def test_a_wrong_name_and_a_wrong_password_are_answered_alike_and_cost_alike(desk, monkeypatch):
    from wfgy_triage import passwords

    costs: list[int] = []
    real = passwords._scrypt
    monkeypatch.setattr(passwords, "_scrypt", lambda *a: (costs.append(1), real(*a))[1])
    assert wrong(desk, "maker") == wrong(desk, "nobody")
    assert len(costs) == 2


def test_a_user_without_a_password_does_not_sign_in_with_one(settings, database):
    path = settings.home / "users.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"users": [{"name": "maker", "role": "admin"}]}))
    desk = SignInDesk(load_team(settings, {}), database)
    for password in ("", PASSWORD):
        with pytest.raises(AccessDenied, match="wrong"):
            desk.sign_in("maker", password, HERE)


def test_guesses_are_held_off_for_that_name_and_address_alone(desk, clock, database):
    wrong(desk, times=MOST_FOR_NAME)
    for password in ("not the password", PASSWORD):
        with pytest.raises(AccessDenied, match="Too many"):
            desk.sign_in("maker", password, HERE)
    assert desk.who(desk.sign_in("maker", PASSWORD, THERE)) == MAKER
    assert desk.who(desk.sign_in("reader", PASSWORD, HERE))
    clock(WINDOW + timedelta(seconds=1))
    assert desk.who(desk.sign_in("maker", PASSWORD, HERE)) == MAKER
    assert trail(database)[:6] == [("maker", "sign-in-failed")] * MOST_FOR_NAME + [("maker", "sign-in-held")]


def test_unknown_names_are_held_off_in_the_same_way(desk):
    said = wrong(desk, "nobody", times=MOST_FOR_NAME)
    assert "Name or password" in said
    assert "Too many" in wrong(desk, "nobody")


def test_holding_off_survives_a_restart(settings, desk, database):
    wrong(desk, times=MOST_FOR_NAME)
    again = SignInDesk(load_team(settings, {}), database)
    assert "Too many" in wrong(again)


def test_many_names_from_one_address_are_held_off_too(desk):
    for number in range(MOST_FROM_ADDRESS):
        wrong(desk, f"name{number}")
    with pytest.raises(AccessDenied, match="Too many"):
        desk.sign_in("maker", PASSWORD, HERE)
    assert desk.sign_in("maker", PASSWORD, THERE)


def test_a_right_password_clears_the_count(desk):
    wrong(desk, times=MOST_FOR_NAME - 1)
    desk.sign_in("maker", PASSWORD, HERE)
    assert "Name or password" in wrong(desk, times=MOST_FOR_NAME)


def test_a_password_typed_as_a_name_is_written_nowhere(desk, database):
    wrong(desk, PASSWORD, times=2)
    assert trail(database) == [(UNKNOWN, "sign-in-failed")] * 2
    with database.engine.connect() as connection:
        assert PASSWORD not in "".join(connection.connection.driver_connection.iterdump())


def test_guesses_at_once_are_counted_one_by_one(desk):
    refused: list[str] = []

    def guess() -> None:
        refused.append(wrong(desk))

    threads = [threading.Thread(target=guess) for _ in range(MOST_WAITING)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("Name or password" in said for said in refused) == MOST_FOR_NAME
    assert len(refused) == MOST_WAITING


def test_too_many_at_once_are_asked_to_wait(desk, monkeypatch):
    places = [desk._places.acquire(blocking=False) for _ in range(MOST_WAITING)]
    assert all(places)
    with pytest.raises(AccessDenied, match="right now"):
        desk.sign_in("maker", PASSWORD, HERE)


def test_a_damaged_list_lets_nobody_in_also_not_those_who_are(desk, file):
    token = desk.sign_in("maker", PASSWORD, HERE)
    file.path.write_text("users: [")
    with pytest.raises(PrerequisiteError):
        desk.who(token)
    with pytest.raises(PrerequisiteError):
        desk.sign_in("maker", PASSWORD, HERE)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("testclient", "testclient"),
        ("", "unknown"),
    ],
)
def test_what_counts_as_one_place(address, place):
    assert network_of(address) == place
