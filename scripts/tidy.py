"""Runs clang-tidy on the sources of a compilation database, on all cores, and skips those that passed before and did not change.

  tidy.py BUILD [--all]    --all: the tests' sources too, which take a third of the time

A file's digest covers its text, every project header it includes (by ninja's dependency log), its compile command, .clang-tidy and the
tool's version. Digests of files that passed are kept in .deps/lint.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PASSED = ROOT / ".deps" / "lint"
TIDY = "clang-tidy-16"  # 14, the default of Debian 12, cannot read libstdc++'s ranges


def project_dependencies(build):
    """Object file -> the project's files that it was made of."""
    listing = subprocess.run(["ninja", "-C", str(build), "-t", "deps"], capture_output=True, text=True, check=True).stdout
    dependencies, current = {}, None
    for line in listing.splitlines():
        if line.startswith("    "):
            path = (build / line.strip()).resolve()
            if current is not None and path.is_relative_to(ROOT) and build not in path.parents:
                current.append(path)
        elif ": #deps" in line:
            current = dependencies.setdefault(line.split(": #deps")[0], [])
    return dependencies


def digest(command, files, version):
    state = hashlib.sha256(version + (ROOT / ".clang-tidy").read_bytes() + command["command"].encode())
    for file in sorted(set(files)):
        state.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return state.hexdigest()


def check(build, source, key):
    """Runs clang-tidy on one file; returns its complaints, or None when it passed."""
    result = subprocess.run([TIDY, "--quiet", "-p", str(build), "--extra-arg=-Wno-unknown-warning-option", str(source)], capture_output=True, text=True, check=False)
    if result.returncode == 0:
        (PASSED / key).touch()
        return None
    return result.stdout + ("" if result.stdout else result.stderr)


def work(build, with_tests):
    """(source, digest) of every source that has not passed as it is."""
    version = subprocess.run([TIDY, "--version"], capture_output=True, check=True).stdout
    dependencies = project_dependencies(build)
    todo = {}
    for command in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        source = pathlib.Path(command["file"]).resolve()
        if build in source.parents or not source.is_relative_to(ROOT):
            continue
        if not with_tests and source.is_relative_to(ROOT / "tests"):
            continue
        words = shlex.split(command["command"])
        key = digest(command, [source, *dependencies.get(words[words.index("-o") + 1], [])], version)
        if not (PASSED / key).exists():
            todo[source] = key
    return sorted(todo.items())


def main():
    build = (ROOT / sys.argv[1]).resolve()
    PASSED.mkdir(parents=True, exist_ok=True)
    todo = work(build, with_tests="--all" in sys.argv[2:])
    if not todo:
        return 0
    start = time.monotonic()
    print(f"== clang-tidy on {len(todo)} files", file=sys.stderr)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for complaint in pool.map(lambda item: check(build, *item), todo):
            if complaint is not None:
                failed += 1
                print(complaint, flush=True)
    print(f"== clang-tidy: {failed} of {len(todo)} files with complaints, {time.monotonic() - start:.0f} s", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
