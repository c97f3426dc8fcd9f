import json
import os
import signal
import subprocess
import sys
import unittest

from .helpers import PATIENCE, environment, program

POLLING = """
    from attune import PollingSensor

    class Disk(PollingSensor):
        interval = 0.01

        def setup(self):
            self.count = 0

        def poll(self):
            self.count += 1
            print("polled", self.count)
            if self.count == 2:
                raise OSError("passing")
            if self.count <= 3:
                self.emit("ops.disk_full", {"count": self.count, "mount": self.config["mount"]}, dedup_key=str(self.count))

        def cleanup(self):
            print("cleaned up")

    Disk.main()
"""

PASSIVE = """
    from attune import Sensor

    class Listener(Sensor):
        def watch(self):
            self.emit("ops.heard", {"ref": self.ref}, config={"channel": "a"})
            self.stopping.wait(300)

    Listener.main()
"""


TYPED = """
    from __future__ import annotations

    from dataclasses import dataclass

    from attune import PollingSensor, settings

    @dataclass
    class Config:
        mount: str
        interval: float = 300

    @dataclass
    class Settings:
        token: str
        port: int = 443

    class Disk(PollingSensor):
        config: Config
        settings: Settings

        def poll(self):
            assert settings()["token"] == self.settings.token
            self.emit("ops.x", {"mount": self.config.mount, "port": self.settings.port, "long": len(self.settings.token)})

    Disk.main()
"""


class Sensors(unittest.TestCase):
    def start(self, text, config="{}", **env):
        path = program(text)
        self.addCleanup(os.remove, path)
        process = subprocess.Popen(
            [sys.executable, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(ATTUNE_SENSOR_REF="ops.disk", **env),
        )
        self.addCleanup(process.__exit__, None, None, None)
        self.addCleanup(process.kill)
        process.stdin.write(config + "\n")
        process.stdin.flush()
        return process

    def test_a_polling_sensor_reports_until_its_input_ends(self):
        process = self.start(POLLING, '{"mount": "/var"}')
        reports = [json.loads(process.stdout.readline()) for _ in range(2)]
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(
            reports,
            [
                {"trigger": "ops.disk_full", "payload": {"count": n, "mount": "/var"}, "dedup_key": str(n)}
                for n in (1, 3)
            ],
        )
        self.assertEqual((process.returncode, out), (0, ""))
        self.assertIn("polled 1\n", err)
        self.assertIn("ERROR attune: ops.disk failed to poll, 1 in a row", err)
        self.assertIn("OSError: passing", err)
        self.assertTrue(err.endswith("cleaned up\n"))

    def test_config_and_settings_are_what_they_are_annotated_with(self):
        process = self.start(TYPED, '{"mount": "/var"}', ATTUNE_PACK_CONFIG='{"token": "hunter2"}')
        report = json.loads(process.stdout.readline())
        self.assertEqual(report["payload"], {"mount": "/var", "port": 443, "long": 7})
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_what_does_not_fit_is_told_and_nothing_is_repeated(self):
        for config, given, said in [
            ("{}", '{"token": "x"}', "error: `config.mount` is missing, expected a text\n"),
            ('{"mount": "/", "every": 5}', '{"token": "x"}', "error: `config.every` is not known, expected one of"),
            ('{"mount": "/"}', "", "error: `settings.token` is missing, expected a text\n"),
            ('{"mount": "/"}', '{"token": "x", "port": "hunter2"}', "error: `settings.port` is a text, expected an integer\n"),
        ]:
            with self.subTest(said=said):
                process = self.start(TYPED, config, ATTUNE_PACK_CONFIG=given)
                _, err = process.communicate(timeout=PATIENCE)
                self.assertEqual(process.returncode, 2)
                self.assertIn(said, err)
                self.assertNotIn("hunter2", err)

    def test_sigterm_stops_a_sensor_that_waits(self):
        process = self.start(PASSIVE)
        heard = {"trigger": "ops.heard", "payload": {"ref": "ops.disk"}, "config": {"channel": "a"}}
        self.assertEqual(json.loads(process.stdout.readline()), heard)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_failures_in_a_row_end_it(self):
        text = """
            from attune import PollingSensor

            class Broken(PollingSensor):
                interval = 0.001
                max_failures = 3

                def poll(self):
                    raise OSError("again")

            Broken.main()
        """
        process = self.start(text)
        self.assertEqual(process.wait(PATIENCE), 1)
        err = process.stderr.read()
        self.assertEqual(err.count("OSError: again"), 3)

    def test_a_bad_interval_is_an_error(self):
        process = self.start(POLLING, '{"mount": "/", "interval": 0}')
        _, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 1)
        self.assertIn("interval is 0, expected a number of seconds above 0", err)

    def test_what_could_not_be_recorded_is_refused(self):
        from attune import Sensor

        sensor = Sensor()
        for payload, more, said in [
            ([1], {}, "expected a dict"),
            ({"a": "x\0"}, {}, "U\\+0000"),
            ({}, {"dedup_key": ""}, "1 to 1024 bytes"),
            ({}, {"config": "disk"}, "the config is of the type str, expected a dict"),
            ({}, {"config": {"a": "x\0"}}, "U\\+0000"),
            ({}, {"dedup_key": "\u00e4" * 600}, "1 to 1024 bytes"),
            ({"a": "x" * 2**20}, {}, "longer than 1048576 bytes"),
            ({"a": float("nan")}, {}, "Out of range"),
        ]:
            with self.subTest(said=said), self.assertRaisesRegex((TypeError, ValueError), said):
                sensor.emit("ops.x", payload, **more)
