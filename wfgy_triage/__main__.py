"""`python -m wfgy_triage`: the command line."""

from wfgy_triage.cli import main

if __name__ == "__main__":
    main()
