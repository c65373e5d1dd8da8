#!/bin/sh
# A git hook that measures before a quantized model leaves this machine. Copy to .git/hooks/pre-push and make it executable.
# FAIL and errors stop the push; a verdict that is none is said and lets it through.
set -u

python -m wfgy_triage probe "${SYMPTOM:-json_breaks}" --pair "${PAIR:-demo}" --questions "${QUESTIONS:-20}" \
  --no-fix --junit "${JUNIT:-triage-junit.xml}"
code=$?

case "$code" in
  0) exit 0 ;;
  3) echo "triage: INCONCLUSIVE, pushed all the same; more questions would decide it" >&2; exit 0 ;;
  4) echo "triage: NOT MEASURED, pushed all the same" >&2; exit 0 ;;
  1) echo "triage: FAIL, not pushed (git push --no-verify pushes anyway)" >&2; exit 1 ;;
  *) echo "triage: the run could not finish, not pushed" >&2; exit 1 ;;
esac
