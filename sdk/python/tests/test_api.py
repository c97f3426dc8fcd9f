import http.server
import json
import os
import socketserver
import threading
import unittest
from unittest import mock

import attune
from attune import _api, artifacts, keys


class FakeApi(http.server.BaseHTTPRequestHandler):
    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        self.server.requests.append((self.command, self.path, dict(self.headers), content))
        status, body, headers = self.server.answers.pop(0)
        if status is None:
            self.close_connection = True
            self.connection.close()
            return
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        kind = "application/problem+json" if status >= 400 else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    # Not an HTTPServer, which asks for the name of its address first.
    daemon_threads = True


class WithApi(unittest.TestCase):
    def setUp(self):
        self.server = Server(("127.0.0.1", 0), FakeApi)
        self.server.requests, self.server.answers = [], []
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        env = {
            "ATTUNE_API_URL": f"http://127.0.0.1:{self.server.server_address[1]}/",
            "ATTUNE_API_TOKEN": "attune_run_x",
            "ATTUNE_EXECUTION_ID": "42",
        }
        patch = mock.patch.dict(os.environ, env)
        patch.start()
        self.addCleanup(patch.stop)
        sleep = mock.patch("time.sleep")
        self.sleep = sleep.start()
        self.addCleanup(sleep.stop)

    def answers(self, *answers):
        self.server.answers = [(status, body, headers[0] if headers else {}) for status, body, *headers in answers]

    def requests(self):
        return [(method, path) for method, path, _, _ in self.server.requests]


class Requests(WithApi):
    def test_a_request_carries_the_token_and_gives_back_json(self):
        self.answers((200, {"a": 1}))
        self.assertEqual(_api.request("GET", "/api/v1/x", query={"q": "a b", "none": None}), {"a": 1})
        method, path, headers, _ = self.server.requests[0]
        self.assertEqual((method, path), ("GET", "/api/v1/x?q=a+b"))
        self.assertEqual(headers["Authorization"], "Bearer attune_run_x")

    def test_a_refusal_is_an_exception_with_the_detail(self):
        problem = {"type": "/problems/invalid", "title": "Invalid", "status": 422, "detail": "bad", "errors": [{"detail": "x is odd"}]}
        for status, kind in [(422, attune.ApiError), (404, attune.NotFound), (403, attune.Forbidden), (409, attune.Conflict)]:
            self.answers((status, problem))
            with self.assertRaises(attune.ApiError) as caught:
                _api.request("GET", "/api/v1/x")
            self.assertEqual((type(caught.exception), caught.exception.status), (kind, status))
            self.assertEqual(str(caught.exception), f"GET /api/v1/x: {status}: bad: x is odd")
            self.assertEqual(caught.exception.problem["type"], "/problems/invalid")
        self.answers((500, b"<html>"))
        with self.assertRaisesRegex(attune.ApiError, "500: Internal Server Error"):
            _api.request("GET", "/api/v1/x")

    def test_what_may_be_repeated_is(self):
        self.answers((503, {}), (None, None), (429, {}, {"Retry-After": "7"}), (200, {}))
        self.assertEqual(_api.request("PUT", "/x", body={}), {})
        pauses = [call.args[0] for call in self.sleep.call_args_list]
        self.assertEqual((len(pauses), pauses[2]), (3, 7.0))
        self.assertTrue(0.1 <= pauses[0] <= 0.2 <= pauses[1] <= 0.4, pauses)

    def test_what_may_not_be_repeated_is_not(self):
        self.answers((503, {"detail": "later"}))
        with self.assertRaisesRegex(attune.ApiError, "later"):
            _api.request("POST", "/x", body={})
        self.answers((422, {"detail": "no"}))
        with self.assertRaisesRegex(attune.ApiError, "no"):
            _api.request("GET", "/x")
        self.assertEqual(len(self.server.requests), 2)

    def test_it_gives_up_at_last(self):
        self.answers(*[(503, {"detail": "later"})] * 5)
        with self.assertRaisesRegex(attune.ApiError, "503: later"):
            _api.request("GET", "/x")
        self.assertEqual(len(self.server.requests), 5)

    def test_the_token_follows_no_redirect(self):
        self.answers((302, {}, {"Location": "http://127.0.0.1:1/"}))
        with self.assertRaises(attune.ApiError) as caught:
            _api.request("GET", "/x")
        self.assertEqual(caught.exception.status, 302)

    def test_without_an_api_it_says_so(self):
        with mock.patch.dict(os.environ):
            del os.environ["ATTUNE_API_TOKEN"]
            with self.assertRaisesRegex(attune.ApiError, "ATTUNE_API_TOKEN are not set"):
                _api.request("GET", "/x")
        self.server.shutdown()
        self.server.server_close()
        with self.assertRaisesRegex(attune.ApiError, "no answer from http://127.0.0.1") as caught:
            _api.request("POST", "/x")
        self.assertIsNone(caught.exception.status)


class Use(WithApi):
    def test_an_event_is_the_same_however_often_it_is_sent(self):
        self.answers((503, {}), (202, {"event": 7, "duplicate": False}), (202, {"event": 8, "duplicate": False}))
        self.assertEqual(attune.emit("ops.seen", {"a": 1}), 7)
        self.assertEqual(attune.emit("ops.seen", {"a": 1}, dedup_key="mine", config={"b": 2}), 8)
        bodies = [json.loads(content) for _, _, _, content in self.server.requests]
        self.assertEqual(bodies[0], bodies[1])
        self.assertTrue(bodies[0]["dedup_key"].startswith("run-42-"))
        self.assertEqual(bodies[2], {"trigger": "ops.seen", "payload": {"a": 1}, "dedup_key": "mine", "config": {"b": 2}})
        with self.assertRaisesRegex(TypeError, "expected a dict"):
            attune.emit("ops.seen", [1])

    def test_keys(self):
        self.answers((200, {}), (204, b""), (200, {"items": [{"ref": "ops.token"}]}))
        keys.set("ops.token", "s3cret")
        keys.remove("ops/x")
        self.assertEqual(keys.names(), ["ops.token"])
        self.assertEqual(
            self.requests(), [("PUT", "/api/v1/keys/ops.token"), ("DELETE", "/api/v1/keys/ops%2Fx"), ("GET", "/api/v1/keys")]
        )
        self.assertEqual(json.loads(self.server.requests[0][3]), {"value": "s3cret"})

    def test_keys_that_are_no_secrets(self):
        none = (404, {"title": "Not Found", "status": 404, "detail": "key ops.cursor does not exist"})
        self.answers((200, {"secret": False, "value": "7"}), none, none, (200, {"secret": True}), (200, {}), (200, {}))
        self.assertEqual(keys.read("ops.cursor"), "7")
        self.assertEqual(keys.read("ops.cursor", default="0"), "0")
        with self.assertRaisesRegex(attune.NotFound, "ops.cursor does not exist"):
            keys.read("ops.cursor")
        with self.assertRaisesRegex(LookupError, r"the key ops.token is a secret, .* `keys: \[ops.token\]`"):
            keys.read("ops.token", default="0")
        keys.set("ops.cursor", "8", secret=False)
        keys.set("ops.cursor", "9", secret=True)
        self.assertEqual(self.requests()[0], ("GET", "/api/v1/keys/ops.cursor"))
        bodies = [json.loads(content) for method, _, _, content in self.server.requests if method == "PUT"]
        self.assertEqual(bodies, [{"value": "8", "secret": False}, {"value": "9", "secret": True}])

    def test_progress(self):
        self.answers((202, b""), (202, b""), (503, {"detail": "busy"}), (422, {"detail": "no percentage"}))
        attune.progress(50, "copying")
        attune.progress(steps={"copy": "done", "check": "running"})
        with self.assertLogs("attune", "WARNING") as logged:
            attune.progress(60)
        self.assertIn("progress was not told: PUT /api/v1/executions/42/progress: 503: busy", logged.output[0])
        with self.assertRaisesRegex(attune.ApiError, "no percentage"):
            attune.progress(150)
        bodies = [json.loads(content) for _, _, _, content in self.server.requests]
        steps = [{"name": "copy", "status": "done"}, {"name": "check", "status": "running"}]
        self.assertEqual(bodies, [{"percent": 50, "message": "copying"}, {"steps": steps}, {"percent": 60}, {"percent": 150}])

    def test_artifacts(self):
        view = {"ref": "ops.f.x", "version": 1, "execution": 42, "content_type": "t", "size": 2, "sha256": "ab", "created": "x"}
        self.answers(*[(201, view)] * 5)
        self.assertEqual(artifacts.file("report.txt", "hi"), artifacts.Version("ops.f.x", 1, 2, "ab"))
        artifacts.file("raw", b"\0\1", label="raw.bin", keep_days=3)
        with open(__file__, "rb") as file:
            own = file.read()
        artifacts.file("code", __import__("pathlib").Path(__file__))
        artifacts.table("hosts", ({"host": name, "tags": {1}} for name in "ab"))
        artifacts.link("runbook", "https://example.test", label="Runbook")
        sent = [(path.split("/")[-1], headers["Content-Type"], content) for _, path, headers, content in self.server.requests]
        self.assertEqual(
            sent,
            [
                ("report.txt?type=file", "text/plain", b"hi"),
                ("raw?type=file&label=raw.bin&keep_days=3", "application/octet-stream", b"\0\1"),
                ("code?type=file", "text/x-python", own),
                ("hosts?type=table", "application/json", b'[{"host": "a", "tags": [1]}, {"host": "b", "tags": [1]}]'),
                ("runbook?type=link", "application/json", b'{"url": "https://example.test", "label": "Runbook"}'),
            ],
        )
        with self.assertRaisesRegex(TypeError, "expected str, bytes or a path"):
            artifacts.file("x", 3)

    def test_what_was_left_is_listed_and_read(self):
        latest = {"ref": "ops.f.x", "version": 2, "execution": 42, "content_type": "t", "size": 2, "sha256": "ab", "created": "x"}
        item = {"ref": "ops.f.x", "type": "file", "label": "x.txt", "owner_type": "action", "owner": "ops.f", "latest": latest}
        gone = {"ref": "ops.f.y", "type": "table", "owner_type": "action", "owner": "ops.f", "latest": None}
        self.answers((200, {"items": [item], "next_cursor": "ops.f.x"}), (200, {"items": [gone], "next_cursor": None}))
        listed = [*artifacts.list("f", owner="ops.f")]
        newest = artifacts.Version("ops.f.x", 2, 2, "ab")
        self.assertEqual(
            listed,
            [
                artifacts.Artifact("ops.f.x", "file", "x.txt", "ops.f", newest),
                artifacts.Artifact("ops.f.y", "table", None, "ops.f", None),
            ],
        )
        content = b'[{"host": "a"}]'
        self.answers((200, content), (200, content), (404, {"title": "Not Found", "detail": "there is none"}))
        self.assertEqual(artifacts.read("ops.f.x"), content)
        self.assertEqual(artifacts.read("ops.f.x", 2), content)
        with self.assertRaises(attune.NotFound):
            artifacts.read("ops.f.z")
        self.assertEqual(
            self.requests(),
            [
                ("GET", "/api/v1/artifacts?match=f&owner=ops.f"),
                ("GET", "/api/v1/artifacts?match=f&owner=ops.f&cursor=ops.f.x"),
                ("GET", "/api/v1/artifacts/ops.f.x/versions/latest"),
                ("GET", "/api/v1/artifacts/ops.f.x/versions/2"),
                ("GET", "/api/v1/artifacts/ops.f.z/versions/latest"),
            ],
        )
