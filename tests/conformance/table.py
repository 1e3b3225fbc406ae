"""Makes the coverage table of ops/README.md from the lines that the conformance programs append to $ONNX_NODE_TESTS_REPORT.

  python3 tests/conformance/table.py REPORT.tsv [REPORT.tsv ...]       # rewrites the table between the two marks in ops/README.md
"""

import collections
import pathlib
import re
import sys

README = pathlib.Path(__file__).resolve().parents[2] / "ops" / "README.md"
BEGIN, END = "<!-- node tests -->\n", "<!-- end of node tests -->"
EXPANDED = re.compile(r"_expanded(_ver\d+)?$")


def read(paths):
    """(device, test) -> (operator, result); a later line replaces an earlier one."""
    tests = {}
    for path in paths:
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            device, name, operator, _, result, _ = line.split("\t")
            tests[device, name] = (operator, result)
    return tests


def by_operator(tests):
    """operator -> device -> [passes, partly, all]; a test of a spelled-out operator counts for that operator."""
    counts = collections.defaultdict(lambda: collections.defaultdict(lambda: [0, 0, 0]))
    for (device, name), (operator, result) in tests.items():
        operator = tests.get((device, EXPANDED.sub("", name)), (operator,))[0]
        if result == "folded":
            continue
        for key in (operator, "all"):
            entry = counts[key][device]
            entry[0] += result == "passes"
            entry[1] += result == "partly"
            entry[2] += 1
    return counts


def cell(entry):
    passes, partly, all_tests = entry
    if all_tests == 0:
        return "-"
    return f"{passes}" + (f" + {partly}" if partly else "") + f" of {all_tests}"


def table(counts):
    lines = ["| operator | CPU | GPU, FP32 |", "|---|---|---|"]
    for operator in [*sorted(key for key in counts if key != "all"), "all"]:
        lines.append(f"| {operator} | {cell(counts[operator]['cpu'])} | {cell(counts[operator]['gpu'])} |")
    return "\n".join(lines) + "\n"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    counts = by_operator(read(sys.argv[1:]))
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}{table(counts)}{END}{after}", encoding="utf-8")
    for device, (passes, partly, all_tests) in counts["all"].items():
        print(f"{device}: {passes} + {partly} of {all_tests} node tests ({100 * (passes + partly) / max(all_tests, 1):.1f} %)")


if __name__ == "__main__":
    main()
