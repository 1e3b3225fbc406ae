"""The modules of plans (files of fcm-plan --json) as a list for fcm-tile-survey: one line "name | spec" each."""

import json
import sys

specs = {}
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    for step in plan["steps"]:
        for part in step["parts"]:
            specs.setdefault(part["spec"], f"m{len(specs)}")
for spec, name in specs.items():
    print(name, "|", spec)
