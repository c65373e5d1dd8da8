"""Make sure that the tests have a PostgreSQL to start, or say plainly that they have none.

Order: the one on the path, Debian's folder of server programs, Debian's package where the user is root. No server that
is already running is touched: the tests start their own in a temporary folder.
Set WFGY_TRIAGE_NO_POSTGRES=1 to leave the PostgreSQL tests out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAMS = ("initdb", "postgres")
DEBIAN_FOLDER = Path("/usr/lib/postgresql")
HINT = (
    "The PostgreSQL tests need PostgreSQL's server programs (initdb, postgres), and none were found.\n"
    "Install them (Debian, Ubuntu: apt-get install postgresql), or put their folder on PATH.\n"
    "To run the other tests alone: WFGY_TRIAGE_NO_POSTGRES=1 make test\n"
)


def find_postgres() -> Path | None:
    """The folder with the server programs, or None."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    if DEBIAN_FOLDER.is_dir():
        versions = [f for f in DEBIAN_FOLDER.iterdir() if f.name.isdigit()]
        folders += [f / "bin" for f in sorted(versions, key=lambda f: int(f.name), reverse=True)]
    return next((f for f in folders if all(os.access(f / name, os.X_OK) for name in PROGRAMS)), None)


def install_debian() -> bool:
    """Install Debian's package without starting a server; only root can."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql"],
    ):
        done = subprocess.run(command, capture_output=True, check=False, env=quiet)  # noqa: S603
    return done.returncode == 0


def main() -> int:
    """Return 0 when the programs are there (or not wanted), 1 with an explanation otherwise."""
    if os.environ.get("WFGY_TRIAGE_NO_POSTGRES") == "1":
        sys.stderr.write("PostgreSQL tests are left out (WFGY_TRIAGE_NO_POSTGRES=1).\n")
        return 0
    if find_postgres():
        return 0
    sys.stderr.write("No PostgreSQL found; installing it for the tests.\n")
    install_debian()
    if find_postgres():
        return 0
    sys.stderr.write(HINT)
    return 1


if __name__ == "__main__":
    sys.exit(main())
