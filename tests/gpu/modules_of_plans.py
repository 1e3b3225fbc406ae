"""The modules of plans (files of fcm-plan --json) as a list for fcm-tile-survey: a line "name | spec | numbers of images" each."""

import json
import sys

images = {}
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    for step in plan["steps"]:
        for part in step["parts"]:
            images.setdefault(part["spec"], set()).add(part["images"])
for number, (spec, counts) in enumerate(images.items()):
    print(f"m{number} | {spec} | {','.join(str(n) for n in sorted(counts))}")
