"""The list of models to export: every entry names a source that exists. Exporting itself needs torch and timm, which CI does not have."""

import json
import unittest

import support  # first: it makes models/ importable

MODELS = support.ROOT / "models"


class ExportList(unittest.TestCase):
    def setUp(self):
        self.groups = json.loads((MODELS / "manifest.json").read_text(encoding="utf-8"))["export"]

    def test_every_source_exists(self):
        for group in self.groups.values():
            for name, entry in group.items():
                with self.subTest(name):
                    self.assertTrue(entry["from"] in ("timm", "torchvision") or (MODELS / "architectures" / f"{entry['from']}.py").is_file())

    def test_no_model_is_in_two_groups(self):
        names = [name for group in self.groups.values() for name in group]
        self.assertEqual(len(names), len(set(names)))
        self.assertGreaterEqual(len(self.groups["zoo"]), 26)


if __name__ == "__main__":
    unittest.main()
