"""tests/gpu/traffic_table.py: counters and traced modules joined, without a profiler."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "gpu"))

import traffic_table  # noqa: E402

L2, DRAM = traffic_table.L2, traffic_table.DRAM


def counters(launches):
    """Nsight Compute's CSV of (kernel, sectors): DRAM is read as one byte a sector and never written."""
    lines = ["==PROF== noise", '"ID","Kernel Name","Metric Name","Metric Value"']
    for index, (name, sectors) in enumerate(launches):
        for metric, value in ((L2, f"{sectors:,}"), (DRAM[0], str(sectors)), (DRAM[1], "0")):
            lines.append(f'"{index}","{name}","{metric}","{value}"')
    return "\n".join(lines) + "\n"


def traced(launches, rows):
    """(what was printed, the JSON) of a list named "net"."""
    layers = [{"list": "other"}, {"list": "net", "precision": "fp16", "date": "2026-11-26", "device": "H100", "driver": "580", "cudnn": "9.19", "layers": {}}]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        for name, text in (("counters.csv", counters(launches)), ("trace.json", json.dumps(rows)), ("layers.json", json.dumps(layers))):
            (path / name).write_text(text)
        arguments = ["traffic_table.py", path / "counters.csv", path / "trace.json", "net", path / "layers.json", str(path / "out.json")]
        printed = io.StringIO()
        with mock.patch.object(sys, "argv", arguments), contextlib.redirect_stdout(printed):
            traffic_table.main()
        return printed.getvalue(), json.loads((path / "out.json").read_text())


class TrafficTable(unittest.TestCase):
    def test_every_name_gets_its_modules_bytes(self):
        mark = ("empty_step", 1)
        launches = [mark, ("fcm_a", 1000), mark, ("conv", 3000), ("epilogue", 1000), mark, mark, ("fcm_b", 500), mark, ("conv", 500), mark]
        rows = [{"names": ["a", "same"], "batch": 1, "error": "", "compulsory_bytes": 10.0}, {"names": ["bad"], "batch": 1, "error": "no tile"},
                {"names": ["b"], "batch": 8, "error": "", "compulsory_bytes": 20.0}]
        text, document = traced(launches, rows)
        self.assertEqual([m["name"] for m in document["modules"]], ["a", "same", "b"])
        self.assertEqual((document["list"], document["device"], document["date"]), ("net", "H100", "2026-11-26"))
        first = document["modules"][1]
        self.assertEqual((first["l2_fused"], first["l2_unfused"], first["dram_unfused"], first["saved"]), (32000, 128000, 4000, 0.75))
        self.assertIn("batch 1: SM-to-L2 bytes saved 75.0% on the mean, 75.0% at best, of 2 modules", text)
        self.assertIn("batch 8: SM-to-L2 bytes saved 0.0% on the mean", text)

    def test_counters_of_another_run_are_refused(self):
        with self.assertRaisesRegex(SystemExit, "1 modules were traced, but the counters hold 0 groups"):
            traced([("fcm_a", 1)], [{"names": ["a"], "batch": 1, "error": "", "compulsory_bytes": 1.0}])


if __name__ == "__main__":
    unittest.main()
