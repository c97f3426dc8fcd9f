import datetime
import json
import unittest
from unittest import mock

import attune
from attune import _inquiries

from .test_api import WithApi

MOMENT = "2026-11-26T12:00:00.123456789Z"


def inquiry(status, **more):
    view = {"id": 7, "execution": 42, "status": status, "response": None, "responded_by": None, "responded_at": None}
    return {**view, **more}


def responded(value):
    return inquiry("responded", response=value, responded_by="ada", responded_at=MOMENT)


class Ask(WithApi):
    def test_it_waits_for_the_answer(self):
        self.answers((201, inquiry("pending")), (200, inquiry("pending")), (200, responded({"approved": True})))
        answer = attune.ask(
            "Deploy?",
            schema={"approved": {"type": "boolean", "required": True}},
            assigned_to="ada",
            assigned_role="ops.approvers",
            allow_self_approval=False,
            timeout=datetime.timedelta(hours=1),
        )
        at = datetime.datetime(2026, 11, 26, 12, 0, 0, 123456, datetime.timezone.utc)
        self.assertEqual(answer, attune.Answer({"approved": True}, "ada", at, 7))
        waits = ("GET", "/api/v1/inquiries/7?wait=45")
        self.assertEqual(self.requests(), [("POST", "/api/v1/inquiries"), waits, waits])
        body = json.loads(self.server.requests[0][3])
        self.assertTrue(body.pop("dedup_key"))
        self.assertEqual(
            body,
            {
                "prompt": "Deploy?",
                "response_schema": {"approved": {"type": "boolean", "required": True}},
                "assigned_to": "ada",
                "assigned_role": "ops.approvers",
                "allow_self_approval": False,
                "timeout_seconds": 3600.0,
            },
        )

    def test_a_question_is_the_same_however_often_it_is_sent(self):
        self.answers((503, {"detail": "later"}), (None, None), (200, responded(3)), (201, responded(4)))
        self.assertEqual(attune.ask("How many?").value, 3)
        self.assertEqual(attune.ask("How many?").value, 4)
        bodies = [json.loads(content) for _, _, _, content in self.server.requests]
        self.assertEqual(bodies[0], bodies[1])
        self.assertEqual(bodies[0], bodies[2])
        self.assertNotEqual(bodies[0]["dedup_key"], bodies[3]["dedup_key"])

    def test_without_an_answer_it_says_why(self):
        self.answers((201, inquiry("pending")), (200, inquiry("timeout")))
        with self.assertRaisesRegex(attune.NotAnswered, "inquiry 7 was not answered in time") as caught:
            attune.ask("Deploy?", timeout=5)
        self.assertEqual(caught.exception.inquiry, 7)
        self.answers((201, inquiry("pending")), (200, inquiry("cancelled")))
        with self.assertRaisesRegex(attune.Cancelled, "inquiry 7 was cancelled") as caught:
            attune.ask("Deploy?")
        self.assertEqual(caught.exception.inquiry, 7)

    def test_a_refusal_is_an_error(self):
        self.answers((403, {"detail": "not declared"}))
        with self.assertRaisesRegex(attune.Forbidden, "not declared"):
            attune.ask("Deploy?")
        self.answers((201, inquiry("pending")), (401, {"detail": "the attempt has ended"}))
        with self.assertRaisesRegex(attune.Forbidden, "the attempt has ended"):
            attune.ask("Deploy?")

    def test_a_server_that_starts_again_is_waited_for(self):
        down = [(503, {"detail": "stopping"})] * 5
        self.answers((201, inquiry("pending")), *down, *down, (200, responded(1)))
        with self.assertLogs("attune", "WARNING") as logged:
            self.assertEqual(attune.ask("Deploy?").value, 1)
        self.assertEqual(len(logged.output), 2)
        self.assertIn("inquiry 7 is asked for again in 1 s", logged.output[0])
        self.assertIn("again in 2 s", logged.output[1])
        self.answers((201, inquiry("pending")), *down)
        with mock.patch.object(_inquiries, "PATIENCE", -1.0):
            with self.assertRaisesRegex(attune.ApiError, "stopping"):
                attune.ask("Deploy?")


class Moments(unittest.TestCase):
    def test_times_of_the_api_are_read(self):
        at = datetime.datetime(2026, 11, 26, 12, 0, 0, tzinfo=datetime.timezone.utc)
        for text, expected in [
            ("2026-11-26T12:00:00Z", at),
            ("2026-11-26T12:00:00.5Z", at.replace(microsecond=500000)),
            ("2026-11-26T12:00:00.123456789+00:00", at.replace(microsecond=123456)),
        ]:
            self.assertEqual(_inquiries._moment(text), expected)


if __name__ == "__main__":
    unittest.main()
