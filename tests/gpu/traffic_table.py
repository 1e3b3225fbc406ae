"""Joins Nsight Compute's counters with fcm-bench --trace: one line a module, fused against unfused. Called by traffic.sh with the files of
both, the list's name, the file whose layers were run (it names the card), and where to write JSON (empty: nowhere)."""

import csv
import json
import sys

MARKER = "empty_step"
SECTOR_BYTES = 32
L2 = "lts__t_sectors_srcunit_tex.sum"
DRAM = ("dram__bytes_read.sum", "dram__bytes_write.sum")


def kernels(path):
    """Launches in order: (kernel name, {metric: value}). In application replay the last pass of a metric counts."""
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line for line in file if line.startswith('"')]
    launches = {}
    for row in csv.DictReader(lines):
        name, metrics = launches.setdefault(int(row["ID"]), (row["Kernel Name"], {}))
        metrics[row["Metric Name"]] = float(row["Metric Value"].replace(",", ""))
    return [launches[key] for key in sorted(launches)]


def groups(launches):
    """The launches between markers, as lists of metrics. Markers stand before, between and after the two forms of a module."""
    current, found, markers = [], [], 0
    for name, metrics in launches:
        if MARKER not in name:
            current.append(metrics)
            continue
        markers += 1
        if markers % 3 != 1:  # the second closes the fused form, the third the unfused one
            found.append(current)
        current = []
    return found


def total(group):
    l2 = sum(metrics[L2] for metrics in group) * SECTOR_BYTES
    return l2, sum(metrics[name] for metrics in group for name in DRAM)


def main():
    found = groups(kernels(sys.argv[1]))
    with open(sys.argv[2], encoding="utf-8") as file:
        rows = [row for row in json.load(file) if not row["error"]]
    if len(found) != 2 * len(rows):
        raise SystemExit(f"{len(rows)} modules were traced, but the counters hold {len(found)} groups of kernels")
    print(f"{'module':34} {'batch':>5} {'L2 MB fused':>12} {'cuDNN':>9} {'saved':>6} {'compulsory':>11} {'DRAM MB fused':>14} {'cuDNN':>9} {'kernels':>8}")
    savings, records = {}, []
    for index, row in enumerate(rows):
        fused, unfused = found[2 * index], found[2 * index + 1]
        (l2, dram), (other_l2, other_dram) = total(fused), total(unfused)
        saved = 1 - l2 / other_l2
        for name in row["names"]:  # equal modules were traced once
            savings.setdefault(row["batch"], []).append(saved)
            print(f"{name:34} {row['batch']:5} {l2 / 1e6:12.3f} {other_l2 / 1e6:9.3f} {saved:6.1%} {row['compulsory_bytes'] / 1e6:11.3f} "
                  f"{dram / 1e6:14.3f} {other_dram / 1e6:9.3f} {len(fused):3}:{len(unfused):<3}")
            records.append({"name": name, "batch": row["batch"], "l2_fused": l2, "l2_unfused": other_l2, "dram_fused": dram,
                            "dram_unfused": other_dram, "saved": saved, "compulsory": row["compulsory_bytes"]})
    if sys.argv[5]:
        with open(sys.argv[4], encoding="utf-8") as file:
            run = next(run for run in json.load(file) if run["list"] == sys.argv[3])
        about = {key: run[key] for key in ("list", "precision", "date", "device", "driver", "cudnn")}
        with open(sys.argv[5], "w", encoding="utf-8") as file:
            json.dump({**about, "modules": records}, file, indent=1)
    for batch, values in savings.items():
        print(f"batch {batch}: SM-to-L2 bytes saved {sum(values) / len(values):.1%} on the mean, {max(values):.1%} at best, of {len(values)} modules")


if __name__ == "__main__":
    main()
