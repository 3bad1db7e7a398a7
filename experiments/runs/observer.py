"""Sacred's file observer, made robust against disks that are full for a while."""

import json
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.common.paths import write_whole

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Sacred 0.8.7 imports pkg_resources
    from sacred.observers import FileStorageObserver
    from sacred.serializer import flatten


class RunFiles(FileStorageObserver):
    """Writes each file atomically. What could not be written during the run is written at its end, or the run fails.

    Sacred itself drops an observer that failed once, and still calls the run completed.

    Args:
        folder: Where Sacred makes the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, copy_sources=False)
        self._metrics: dict[str, dict[str, list[Any]]] = {}

    def save_json(self, obj: Any, filename: str) -> None:
        """One of the JSON files."""
        self._write(filename, json.dumps(flatten(obj), sort_keys=True, indent=2))

    def save_cout(self) -> None:
        """The captured output."""
        self._write("cout.txt", self.cout)

    def log_metrics(self, metrics_by_name: dict[str, Any], info: dict[str, Any]) -> None:  # noqa: ARG002
        """Keep new points; the heartbeat, which comes next, writes them."""
        for name, points in metrics_by_name.items():
            series = self._metrics.setdefault(name, {"values": [], "steps": [], "timestamps": []})
            series["values"] += points["values"]
            series["steps"] += points["steps"]
            series["timestamps"] += [moment.isoformat() for moment in points["timestamps"]]

    def heartbeat_event(self, *arguments: Any, **named: Any) -> None:
        """Write what is new, if the disk takes it."""
        with suppress(OSError):
            self.save_json(self._metrics, "metrics.json")
        with suppress(OSError):
            super().heartbeat_event(*arguments, **named)

    def complete(self) -> None:
        """Write everything once more; raises OSError for what cannot be written."""
        self.save_cout()
        self.save_json(self._metrics, "metrics.json")
        self.save_json(self.info, "info.json")
        self.save_json(self.run_entry, "run.json")

    def _write(self, name: str, text: str) -> None:
        write_whole(Path(str(self.dir)) / name, text)
