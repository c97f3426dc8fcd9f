"""Prints one line, and posts it to the chat of the settings where there is one."""

import json
import os
import sys
import urllib.error
import urllib.request

from attune import settings

text = os.environ["ATTUNE_ACTION_TEXT"]
print(text, flush=True)
chat = settings().get("chat_url")
if chat:
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(chat, data=body, headers={"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=20).close()
    except urllib.error.HTTPError as error:
        sys.exit(f"the chat of the setting chat_url refuses it with {error.code}: {error.read(2000).decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"the chat of the setting chat_url does not answer: {error}")
