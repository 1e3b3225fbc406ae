"""Predicted bytes of plans against a profiler's, by kernel: reads NAME.json (fcm-plan --json) and NAME.csv (Nsight Compute) of a folder.
Called by predicted_traffic.sh. Library kernels are left out: the planner promises bytes of its own kernels only."""

import json
import pathlib
import sys

from traffic_table import DRAM, L2, SECTOR_BYTES, kernels


def compare(folder, name):
    """One entry a module kernel: name, spec, tile, predicted and measured bytes."""
    with open(folder / f"{name}.json", encoding="utf-8") as file:
        plan = json.load(file)
    parts = [part for step in plan["steps"] for part in step["parts"]]
    own = {part["kernel"] for part in parts}
    launches = [(kernel, metrics) for kernel, metrics in kernels(folder / f"{name}.csv") if kernel.split("(")[0] in own]
    if [kernel.split("(")[0] for kernel, _ in launches] != [part["kernel"] for part in parts]:
        raise SystemExit(f"{name}: the plan has {len(parts)} module kernels, the profiler saw {len(launches)} or others")
    for part, (_, metrics) in zip(parts, launches):
        cost = part["cost"]
        yield {
            "name": name,
            "spec": part["spec"],
            "tile": part["tile"],
            "l2": (cost["l2_bytes"], metrics[L2] * SECTOR_BYTES),
            "dram": (cost["dram_bytes"], sum(metrics[m] for m in DRAM)),
        }


def l2_holds(row):
    predicted, measured = row["l2"]
    return abs(predicted - measured) <= 0.10 * measured


def dram_holds(row):
    predicted, measured = row["dram"]
    return abs(predicted - measured) <= max(0.20 * measured, 0.5e6)


def main():
    folder = pathlib.Path(sys.argv[1])
    names = sorted(p.stem for p in folder.glob("*.csv"))
    rows = []
    print(f"{'network-batch':28} {'kernels':>7} {'unique':>6} {'L2 within 10%':>14} {'DRAM within':>12} {'L2 MB predicted':>16} {'measured':>9} {'DRAM MB predicted':>18} {'measured':>9}")
    for name in names:
        every = list(compare(folder, name))
        unique = list({(row["spec"], row["tile"]): row for row in every}.values())
        rows += unique
        totals = [sum(row[kind][side] for row in every) / 1e6 for kind in ("l2", "dram") for side in (0, 1)]
        print(f"{name:28} {len(every):7} {len(unique):6} {sum(map(l2_holds, unique)) / len(unique):14.0%} {sum(map(dram_holds, unique)) / len(unique):12.0%} "
              f"{totals[0]:16.2f} {totals[1]:9.2f} {totals[2]:18.2f} {totals[3]:9.2f}")
    if not rows:
        raise SystemExit("nothing was measured")
    print(f"all: {len(rows)} unique kernels, L2 within 10 % for {sum(map(l2_holds, rows)) / len(rows):.1%}, DRAM within 20 % or 0.5 MB for {sum(map(dram_holds, rows)) / len(rows):.1%}")
    for kind, holds in (("l2", l2_holds), ("dram", dram_holds)):
        misses = sorted((row for row in rows if not holds(row)), key=lambda row: -abs(row[kind][0] - row[kind][1]))
        for row in misses[:25]:
            predicted, measured = row[kind]
            print(f"  {kind} {row['name']}: {predicted / 1e6:.3f} MB predicted, {measured / 1e6:.3f} measured ({predicted / max(measured, 1) - 1:+.0%})  {row['spec']} | {row['tile']}")


if __name__ == "__main__":
    main()
