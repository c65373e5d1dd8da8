"""Passwords and the file of users: what is kept, what is refused, and that damage opens no door."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from tests.people import PASSWORD, cheap_hash
from wfgy_triage.access import Role
from wfgy_triage.errors import InputError, PrerequisiteError
from wfgy_triage.passwords import LONGEST, fits, hashed, well_formed
from wfgy_triage.users import User, Users, UsersFile, checked_name, checked_role, read_users

# RFC 7914, section 12: scrypt("pleaseletmein", "SodiumChloride", N=16384, r=8, p=1); the first 32 of its 64 bytes.
RFC = "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"


def test_the_hash_is_scrypt_as_published():
    import base64

    salt, kept = (base64.b64encode(b).decode() for b in (b"SodiumChloride", bytes.fromhex(RFC)))
    stored = f"scrypt$16384$8$1${salt}${kept}"
    assert fits("pleaseletmein", stored)
    assert not fits("pleaseletmeim", stored)


def test_a_password_fits_its_hash_and_no_other():
    stored = hashed(PASSWORD)
    assert stored.startswith("scrypt$32768$8$3$")
    assert PASSWORD not in stored
    assert fits(PASSWORD, stored)
    for wrong in ("", PASSWORD + " ", PASSWORD.upper(), "x" * (LONGEST + 1)):
        assert not fits(wrong, stored)
    assert cheap_hash() != cheap_hash(), "every hash has its own salt"


def test_letters_typed_in_two_ways_are_the_same_password():
    assert fits("e\u0301clair au chocolat", cheap_hash("\u00e9clair au chocolat"))


def test_a_name_without_a_hash_costs_a_hash_and_never_fits(monkeypatch: pytest.MonkeyPatch):
    from wfgy_triage import passwords

    costs = []
    real = passwords._scrypt
    monkeypatch.setattr(passwords, "_scrypt", lambda t, s, *c: (costs.append(c[:3]), real(t, s, *c))[1])
    assert not fits(PASSWORD, None)
    assert not fits("", None)
    assert costs == [(2**15, 8, 3)] * 2


@pytest.mark.parametrize("password", ["", "short", "123456789", "x" * (LONGEST + 1)])
def test_what_is_too_short_or_too_long_is_refused_without_repeating_it(password: str):
    with pytest.raises(InputError, match="characters") as caught:
        hashed(password)
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        PASSWORD,
        "scrypt$1024$8$1$c2FsdHNhbHQ=$" + "A" * 44,  # too cheap
        "scrypt$16385$8$1$c2FsdHNhbHQ=$" + "A" * 44,  # no power of two
        "scrypt$16777216$8$1$c2FsdHNhbHQ=$" + "A" * 44,  # would fill the memory
        "scrypt$16384$8$1$c2FsdHNhbHQ=$QUFBQUFBQUE=",  # short enough to guess
        "scrypt$16384$8$1$c2FsdHNhbHQ$" + "A" * 44,
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    ],
)
def test_what_is_no_hash_of_ours_fits_nothing(stored: str):
    assert not well_formed(stored)
    assert not fits(PASSWORD, stored)


@pytest.mark.parametrize(
    "name", ["", "local", "a b", "visitor 1", "-x", "../x", "a" * 64, "maker\n", "кim", "<b>"]
)
def test_what_cannot_be_a_name(name: str):
    with pytest.raises(InputError):
        checked_name(name.replace("\n", "\n."))


def test_capitals_and_spaces_around_make_no_difference():
    assert checked_name(" Maker ") == "maker"
    assert checked_role("admin") is Role.ADMIN
    for role in ("none", "root", ""):
        with pytest.raises(InputError, match="no role"):
            checked_role(role)


@pytest.fixture
def file(tmp_path: Path) -> UsersFile:
    return UsersFile(tmp_path / "team" / "users.yaml")


def test_users_are_added_changed_and_taken_out(file: UsersFile):
    file.change([User("maker", Role.OPERATOR, cheap_hash())])
    file.change([User("reader", Role.VIEWER)])
    file.change([User("maker", Role.ADMIN)])
    assert {n: u.role for n, u in file.now().by_name.items()} == {"maker": Role.ADMIN, "reader": Role.VIEWER}
    file.change(remove="maker")
    assert list(UsersFile(file.path).now().by_name) == ["reader"]
    with pytest.raises(InputError, match="no user"):
        file.change(remove="maker")


def test_the_file_is_for_its_owner_alone_and_nothing_is_left_beside_it(file: UsersFile):
    file.change([User("maker", Role.OPERATOR, cheap_hash())])
    file.change([User("reader", Role.OPERATOR, cheap_hash())])
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert {p.name for p in file.path.parent.iterdir()} == {"users.yaml", "users.yaml.lock"}


def test_the_role_of_others_survives_a_change(file: UsersFile):
    file.path.parent.mkdir()
    file.path.write_text("users: []\nothers: viewer\n")
    file.change([User("maker", Role.ADMIN)])
    assert file.now() == Users({"maker": User("maker", Role.ADMIN)}, Role.VIEWER)


def test_a_hash_is_in_no_repr():
    assert cheap_hash()[-20:] not in repr(User("maker", Role.ADMIN, cheap_hash()))


GOOD = {"name": "maker", "role": "admin"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no list named 'users'"),
        ("[]", "no list named 'users'"),
        ("users: nobody", "no list named 'users'"),
        ("users: [\n  {name: maker", "not valid YAML"),
        ("users: !!python/object/apply:os.system ['true']", "not valid YAML"),
        (yaml.safe_dump({"users": [GOOD], "user": []}), "'user' is not known"),
        (yaml.safe_dump({"users": [GOOD, {**GOOD, "name": "MAKER"}]}), "twice"),
        (yaml.safe_dump({"users": [{**GOOD, "role": "root"}]}), "no role 'root'"),
        (yaml.safe_dump({"users": [{**GOOD, "name": "a b"}]}), "cannot be a user's name"),
        (yaml.safe_dump({"users": [{**GOOD, "pasword": "x"}]}), "entry 1"),
        (yaml.safe_dump({"users": ["maker"]}), "entry 1"),
        (yaml.safe_dump({"users": [{**GOOD, "password": PASSWORD}]}), "password of maker"),
        (yaml.safe_dump({"users": [GOOD], "others": "everyone"}), "no role 'everyone'"),
        ("x" * 1_000_001, "larger than"),
    ],
)
def test_a_damaged_file_is_said_and_left_alone(file: UsersFile, content: str, says: str):
    file.path.parent.mkdir()
    file.path.write_text(content)
    with pytest.raises(PrerequisiteError, match=says) as caught:
        file.now()
    assert PASSWORD not in str(caught.value)
    with pytest.raises(PrerequisiteError):
        file.change([User("reader", Role.ADMIN)])
    assert file.path.read_text() == content


def test_a_missing_or_binary_file_is_said(file: UsersFile):
    with pytest.raises(PrerequisiteError, match="cannot be read"):
        read_users(file.path)
    file.path.parent.mkdir()
    file.path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PrerequisiteError, match="UTF-8"):
        read_users(file.path)


def test_a_file_that_becomes_damaged_or_goes_lets_nobody_in_until_it_is_back(file: UsersFile):
    file.change([User("maker", Role.ADMIN)])
    whole = file.path.read_bytes()
    assert "maker" in file.now().by_name
    for break_it in (lambda: file.path.write_text("users: ["), file.path.unlink):
        break_it()
        for _ in range(2):
            with pytest.raises(PrerequisiteError):
                file.now()
    file.path.write_bytes(whole)
    assert "maker" in file.now().by_name
