"""Predicted against measured times of steps by themselves (without `among_us`, what libraries cost among modules): reads files of
`fcm-plan --measure --json` and prints, by network and over all, the rank correlation (Spearman) of steps and of modules alone, the ratio of
sums, and the steps that are furthest off.

  fcm-plan MODEL.onnx --batch 1 --measure --json > steps.json
  python tests/gpu/step_times.py steps.json...
"""

import json
import math
import pathlib
import sys


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    at = 0
    while at < len(order):
        end = at
        while end + 1 < len(order) and values[order[end + 1]] == values[order[at]]:
            end += 1
        for i in range(at, end + 1):
            result[order[i]] = (at + end) / 2
        at = end + 1
    return result


def spearman(pairs):
    if len(pairs) < 3:
        return float("nan")
    a, b = ranks([p for p, _ in pairs]), ranks([m for _, m in pairs])
    mean = (len(pairs) - 1) / 2
    top = sum((x - mean) * (y - mean) for x, y in zip(a, b))
    bottom = math.sqrt(sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b))
    return top / bottom if bottom else float("nan")


def main():
    everything = []
    print(f"{'network':40} {'steps':>5} {'modules':>7} {'rho steps':>9} {'rho modules':>11} {'predicted us':>12} {'measured us':>11} {'replay us':>9} {'unfused us':>10} {'ratio':>6} {'planned ms':>10}")
    for path in map(pathlib.Path, sys.argv[1:]):
        with open(path, encoding="utf-8") as file:
            plan = json.load(file)
        name = f"{plan['model']} batch {plan['batch']}"
        rows = [(s["cost"]["time_us"] - s["cost"].get("among_us", 0), s["measured_us"], s) for s in plan["steps"] if s["measured_us"] > 0]
        modules = [(p, m) for p, m, s in rows if s["module"]]
        predicted, measured = sum(r[0] for r in rows), sum(r[1] for r in rows)
        replay, unfused = plan["measured"]["replay_us"], plan["measured"]["unfused_replay_us"]
        print(f"{name:40} {len(rows):5} {len(modules):7} {spearman([r[:2] for r in rows]):9.3f} {spearman(modules):11.3f} {predicted:12.1f} {measured:11.1f} "
              f"{replay:9.1f} {unfused:10.1f} {unfused / replay:6.2f} {plan['planning_ms']:10.1f}")
        everything += [(p, m, name, s) for p, m, s in rows]
    modules = [(p, m) for p, m, _, s in everything if s["module"]]
    print(f"all: {len(everything)} steps, rank correlation {spearman([e[:2] for e in everything]):.3f}; {len(modules)} modules, {spearman(modules):.3f}")
    for p, m, name, step in sorted(everything, key=lambda e: -abs(math.log(e[0] / e[1])))[:15]:
        print(f"  {p:8.2f} predicted {m:8.2f} measured  {name} {step['kind']} {step['nodes'][-1]}")
    slower = [(s["measured_us"] / s["measured_alone_us"], name, s) for _, _, name, s in everything if s["module"] and s["measured_us"] > 1.02 * s["measured_alone_us"]]
    print(f"{len(slower)} modules take more than 1.02 times their nodes one by one")
    for ratio, name, step in sorted(slower, key=lambda e: -e[0])[:10]:
        print(f"  {ratio:.2f}x  {name} {step['kind']} {step['nodes'][-1]}: {step['measured_us']:.2f} us, alone {step['measured_alone_us']:.2f}")


if __name__ == "__main__":
    main()
