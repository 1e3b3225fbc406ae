"""The whole zoo against what else would run it: models x batch sizes x precisions x {fused, not fused, peers}. Resumable.

  python apps/bench/sweep.py                                      # the zoo, batch 1, 8 and 64, FP16, all contenders; writes sweep.json
  python apps/bench/sweep.py --models first --contenders fcm,fcm-nofuse,inductor
  python apps/bench/sweep.py --seconds 3600 --jobs 8              # starts nothing after an hour; the same command goes on later
  python apps/bench/sweep.py --merge a.json b.json                # into the output, newer measurements in place of older ones
  python apps/bench/tables.py sweep.json --output docs/benchmarks.md

Each cell is measured in one process with all its contenders in turn, so that a row never mixes runs. See peers.py for the method.
"""

import argparse
import pathlib
import sys

import driver
import peers

# The models whose peers were measured first; see docs/benchmarks.md.
FIRST = (
    "mobilenetv2_100", "mobilenetv1_100", "efficientnet_b0", "mobilenetv3_large_100", "deit_tiny_patch16_224", "mobilevit_s", "efficientvit_b1",
    "legacy_xception", "mnasnet_100", "mobilenetv4_conv_small",
)


def zoo_models():
    sys.path.insert(0, str(peers.ROOT / "models"))
    import zoo

    return list(zoo.load_manifest()["export"]["zoo"])


def chosen(names):
    """Names of models; `first` and `zoo` stand for lists."""
    groups = {"first": lambda: list(FIRST), "zoo": zoo_models}
    models = []
    for name in names:
        models += groups[name]() if name in groups else [name]
    return list(dict.fromkeys(models))


def merge_files(paths, output):
    """Adds the cells of `paths` to `output`, the newest of each last. Returns how many cells there are then."""
    document = driver.read_results(output)
    cells = [cell for path in paths for cell in driver.read_results(path)["results"]]
    for cell in sorted(cells, key=lambda c: c.get("date", "")):
        driver.merge(document, cell)
    driver.write_results(output, document)
    return len(document["results"])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["zoo"], metavar="MODEL", help="names, `first` (ten models) or `zoo` (default)")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("sweep.json"), help="default: sweep.json")
    parser.add_argument("--merge", type=pathlib.Path, nargs="+", metavar="FILE", help="measure nothing: add the cells of these files")
    peers.add_options(parser)
    parser.set_defaults(batch=[1, 8, 64])
    options = parser.parse_args(arguments)
    if options.merge:
        absent = [str(path) for path in options.merge if not path.is_file()]
        if absent:
            parser.error(f"--merge: no file {', '.join(absent)}")
        print(f"{merge_files(options.merge, options.output)} cells in {options.output}")
        return 0
    document = peers.run(chosen(options.models), options, parser, options.output)
    return 1 if any("failed" in r for r in document["results"]) else 0


if __name__ == "__main__":
    sys.exit(main())
