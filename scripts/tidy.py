"""Runs clang-tidy on the sources of a compilation database, on all cores, and skips those that passed before and did not change.

  tidy.py BUILD [--all] [--record]    --all: the tests' sources too, which take a third of the time

A file's digest covers its text, every project header it includes (by ninja's dependency log), its compile command, .clang-tidy and the
tool's version, but not where the project lies. Digests of files that passed are kept in .deps/lint, and with --record those of the product's
sources in scripts/tidy_passed.txt, which is committed: a fresh clone looks only at what nobody has recorded. Sources are read without the
precompiled headers, which only their compiler understands: each must include what it uses (BUILD/tidy holds the commands: clang-tidy -p).
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PASSED = ROOT / ".deps" / "lint"
RECORD = ROOT / "scripts" / "tidy_passed.txt"
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
    words = command["command"].replace(str(ROOT), ".")
    state = hashlib.sha256(version + (ROOT / ".clang-tidy").read_bytes() + words.encode())
    for file in sorted(set(files)):
        state.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return state.hexdigest()[:32]


def without_precompiled(build):
    """The compilation database without the precompiled headers, kept in BUILD/tidy."""
    commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    for command in commands:
        command["command"] = re.sub(r" -Winvalid-pch -include \S+", "", command["command"])
    (build / "tidy").mkdir(exist_ok=True)
    (build / "tidy" / "compile_commands.json").write_text(json.dumps(commands, indent=1), encoding="utf-8")
    return commands


def recorded():
    return set(RECORD.read_text(encoding="utf-8").split()) if RECORD.exists() else set()


def check(build, source, key):
    """Runs clang-tidy on one file; returns its complaints, or None when it passed."""
    result = subprocess.run([TIDY, "--quiet", "-p", str(build / "tidy"), "--extra-arg=-Wno-unknown-warning-option", str(source)], capture_output=True, text=True, check=False)
    if result.returncode == 0:
        (PASSED / key).touch()
        return None
    return result.stdout + ("" if result.stdout else result.stderr)


def sources(build, with_tests):
    """Source -> digest. Of what the tool tells of itself only the version's number counts."""
    version = re.search(rb"version \S+", subprocess.run([TIDY, "--version"], capture_output=True, check=True).stdout).group()
    dependencies = project_dependencies(build)
    found = {}
    for command in without_precompiled(build):
        source = pathlib.Path(command["file"]).resolve()
        if build in source.parents or not source.is_relative_to(ROOT):
            continue
        if not with_tests and source.is_relative_to(ROOT / "tests"):
            continue
        words = shlex.split(command["command"])
        found[source] = digest(command, [source, *dependencies.get(words[words.index("-o") + 1], [])], version)
    return found


def main():
    build = (ROOT / sys.argv[1]).resolve()
    PASSED.mkdir(parents=True, exist_ok=True)
    known = recorded()
    unchecked = sorted((s, key) for s, key in sources(build, "--all" in sys.argv[2:]).items() if key not in known and not (PASSED / key).exists())
    failed = run(build, unchecked) if unchecked else 0
    if "--record" in sys.argv[2:] and not failed:
        RECORD.write_text("\n".join(sorted(sources(build, False).values())) + "\n", encoding="utf-8")
    return 1 if failed else 0


def run(build, unchecked):
    """Checks files in parallel; how many have complaints."""
    start = time.monotonic()
    print(f"== clang-tidy on {len(unchecked)} files", file=sys.stderr)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for complaint in pool.map(lambda item: check(build, *item), unchecked):
            if complaint is not None:
                failed += 1
                print(complaint, flush=True)
    print(f"== clang-tidy: {failed} of {len(unchecked)} files with complaints, {time.monotonic() - start:.0f} s", file=sys.stderr)
    return failed


if __name__ == "__main__":
    sys.exit(main())
