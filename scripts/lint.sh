#!/usr/bin/env bash
# Checks the format of every source with clang-format, and the product's sources (with --all the tests' too) with clang-tidy. A file that
# passed clang-tidy is not looked at again until it, a header that it includes, its compile command or the configuration changes
# (.deps/lint and scripts/tidy_passed.txt remember digests). clang-tidy needs build/release to have been built.
#   scripts/lint.sh [--all | --record | --format-only | --fix]    --record: notes what passed in scripts/tidy_passed.txt; --fix: rewrites the format
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$FCM_ROOT"

format() {
  find apps fcm ops planner runtime tests -type f -regex '.*\.\(h\|hpp\|c\|cpp\|cuh\)' -print0 | xargs -0 clang-format "$@"
}

check_format() {
  local complaints
  complaints=$(format --dry-run --Werror 2>&1) && return
  grep -oE '^[^ :]+:[0-9]+' <<<"$complaints" | sort -u | sed 's/$/: not as .clang-format wants it/' >&2
  fail "scripts/lint.sh --fix rewrites these files"
}

case "${1:-}" in
  --fix) format -i ;;
  --format-only) check_format ;;
  '' | --all | --record)
    check_format
    [ -f build/release/compile_commands.json ] || fail "build/release is missing: run scripts/test.sh, or cmake --preset release and ninja"
    python3 scripts/tidy.py build/release "$@"
    ;;
  *) fail "usage: scripts/lint.sh [--all | --record | --format-only | --fix]" ;;
esac
