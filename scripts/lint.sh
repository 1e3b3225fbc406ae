#!/usr/bin/env bash
# Checks the style of every tracked source with clang-format and clang-tidy. A file that passed is not looked at again until it, a header
# that it includes, its compile command or the configuration changes (.deps/lint remembers digests).
#   scripts/lint.sh [--format-only | --fix]    --fix: rewrites the format; needs a configured build/release otherwise
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$FCM_ROOT"

sources() { git ls-files --cached --others --exclude-standard -- "$@"; }

check_format() {
  local files
  mapfile -t files < <(sources '*.h' '*.hpp' '*.c' '*.cpp' '*.cuh')
  [ ${#files[@]} -eq 0 ] || clang-format "$@" "${files[@]}"
}

case "${1:-}" in
  --fix) check_format -i && exit ;;
  --format-only) check_format --dry-run --Werror && exit ;;
  '') ;;
  *) fail "usage: scripts/lint.sh [--format-only | --fix]" ;;
esac

check_format --dry-run --Werror || fail "the format differs from .clang-format; scripts/lint.sh --fix rewrites it"
[ -f build/release/compile_commands.json ] || fail "build/release is not configured: run cmake --preset release"
exec python3 scripts/tidy.py build/release
