"""The values of the keys that an action names."""

import json
import os
import unittest
from unittest import mock

import attune
from attune import keys

from .helpers import run

IN_A_RUN = {"ATTUNE_EXECUTION_ID": "42", "ATTUNE_ACTION_REF": "ops.page"}


def given(values, **more):
    """The environment of a process that was given these values."""
    text = values if isinstance(values, str) else json.dumps(values)
    return mock.patch.dict(os.environ, {"ATTUNE_KEYS": text, **more})


class Values(unittest.TestCase):
    def test_a_key_that_the_action_names_has_its_value(self):
        with given({"ops.token": 'hunter"2" of spades', "ops.empty": ""}):
            self.assertEqual(keys.get("ops.token"), 'hunter"2" of spades')
            self.assertEqual(keys.get("ops.token", "other"), 'hunter"2" of spades')
            self.assertEqual(keys.get("ops.empty", default="other"), "")

    def test_a_key_without_a_value_has_the_default_or_is_not_found(self):
        with given({"ops.proxy": None}):
            self.assertEqual(keys.get("ops.proxy", default="direct"), "direct")
            self.assertIsNone(keys.get("ops.proxy", default=None))
            with self.assertRaises(attune.NotFound) as caught:
                keys.get("ops.proxy")
        self.assertEqual(str(caught.exception), "the key ops.proxy has no value: set it with `attune key set ops.proxy`")

    def test_a_key_that_the_action_does_not_name_is_a_mistake_whatever_the_default(self):
        with given({"ops.token": "s3cret", "ops.a": None}, **IN_A_RUN):
            with self.assertRaises(LookupError) as caught:
                keys.get("ops.tokn", default="none")
        expected = (
            "ops.page does not name the key ops.tokn: declare it in the definition of the action, `keys: [ops.tokn]`; it names "
            "ops.a, ops.token"
        )
        self.assertEqual(str(caught.exception), expected)
        with mock.patch.dict(os.environ, IN_A_RUN):
            os.environ.pop("ATTUNE_KEYS", None)
            with self.assertRaises(LookupError) as caught:
                keys.get("ops.token")
        expected = "ops.page does not name the key ops.token: declare it in the definition of the action, `keys: [ops.token]`"
        self.assertEqual(str(caught.exception), expected)

    def test_elsewhere_it_is_said_where_values_come_from(self):
        _, _, stderr = run("from attune import keys\nkeys.get('ops.token')\n")
        expected = 'LookupError: there is no value of the key ops.token: outside of Attune give one in ATTUNE_KEYS, such as {"ops.token": "..."}\n'
        self.assertTrue(stderr.endswith(expected), stderr)
        _, _, stderr = run("from attune import keys\nkeys.get('ops.token')\n", ATTUNE_SENSOR_REF="ops.disk")
        self.assertIn("LookupError: a sensor is not given the key ops.token: it has the settings of its pack", stderr)

    def test_what_cannot_be_read_is_not_repeated(self):
        for text in ("hunter2", '["hunter2"]', '{"ops.token": {"a": "hunter2"}}'):
            _, _, stderr = run("from attune import keys\nkeys.get('ops.token')\n", ATTUNE_KEYS=text)
            self.assertTrue(stderr.endswith("ValueError: ATTUNE_KEYS is no JSON object of texts\n"), stderr)
            self.assertNotIn("hunter2", stderr)


if __name__ == "__main__":
    unittest.main()
