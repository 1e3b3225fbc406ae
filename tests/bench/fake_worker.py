"""A worker without a GPU: what it answers depends on the model's name."""

import json
import sys
import time

cell = json.loads(sys.stdin.readline())
if cell["model"] == "dies":
    sys.exit(3)
if cell["model"] == "sleeps":
    time.sleep(60)
if cell["model"] == "fails":
    print(json.dumps({"event": "error", "reason": "ValueError: no such layer"}), flush=True)
    sys.exit(0)
print(json.dumps({"event": "ready"}), flush=True)
if sys.stdin.readline().strip() == "measure":
    result = {key: cell[key] for key in ("model", "batch", "precision")}
    result["contenders"] = [{"name": "fcm", "label": "FCM", "median_us": 100.0 * cell["batch"], "started": time.time()}]
    time.sleep(0.05)
    result["contenders"][0]["ended"] = time.time()
    print(json.dumps({"event": "result", "result": result}), flush=True)
