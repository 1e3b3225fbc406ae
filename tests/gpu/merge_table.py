"""A survey's rows into a table of surveys, whose rows of the same module, number of images and tile they replace:

  zcat tests/calibration/h200.tsv.gz | tests/gpu/merge_table.py - new.tsv... > h200.tsv

Where a module was timed again with other kernels, older rows that were faster than all of the new ones are left out: nobody knows whether they still are.
"""

import sys


def rows(lines):
    """(comments, {(images, module, tile): line})"""
    comments, found = [], {}
    for line in lines:
        cells = line.rstrip("\n").split("\t")
        if line.startswith("#"):
            comments.append(line)
        elif len(cells) == 7 and line.endswith("\n"):  # an interrupted survey's last row may be half a row
            found[cells[0], cells[5], cells[6]] = line
    return comments, found


def time_of(line):
    return float(line.split("\t")[1])


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    comments, table = rows(sys.stdin if sys.argv[1] == "-" else open(sys.argv[1], encoding="utf-8"))
    fresh = {}
    for name in sys.argv[2:]:
        with open(name, encoding="utf-8") as file:
            fresh.update(rows(file)[1])
    best = {}
    for (images, module, _), line in fresh.items():
        best[images, module] = min(best.get((images, module), float("inf")), time_of(line))
    kept = {key: line for key, line in table.items() if key in fresh or time_of(line) > best.get(key[:2], 0.0)}
    merged = {**kept, **fresh}
    sys.stdout.writelines(comments)
    sys.stdout.writelines(merged[key] for key in sorted(merged, key=lambda key: (key[1], int(key[0]), key[2])))


if __name__ == "__main__":
    main()
