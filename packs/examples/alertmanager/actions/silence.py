"""Makes a silence by the API of Alertmanager (v2), with Python's own library only."""

import datetime
import json
import sys
import urllib.error
import urllib.request

parameters = json.load(sys.stdin)
starts = datetime.datetime.now(datetime.timezone.utc)
ends = starts + datetime.timedelta(hours=parameters["hours"])
matchers = [
    {"name": name, "value": value, "isRegex": False, "isEqual": True}
    for name, value in sorted(parameters["labels"].items())
]
silence = {
    "matchers": matchers,
    "startsAt": starts.isoformat(),
    "endsAt": ends.isoformat(),
    "createdBy": parameters["author"],
    "comment": parameters["comment"],
}
request = urllib.request.Request(
    parameters["url"].rstrip("/") + "/api/v2/silences",
    data=json.dumps(silence).encode(),
    headers={"Content-Type": "application/json"},
)
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        made = json.load(answer)["silenceID"]
except urllib.error.HTTPError as error:
    sys.exit(f"Alertmanager refuses the silence with {error.code}: {error.read().decode(errors='replace')}")
except urllib.error.URLError as error:
    sys.exit(f"Alertmanager at {parameters['url']} does not answer: {error.reason}")
print(json.dumps({"silence": made, "starts": silence["startsAt"], "ends": silence["endsAt"], "matchers": matchers}))
