"""Asks PyPI and the npm registry for known vulnerabilities of what is installed; exit code 1 where there are any.

A registry that does not answer (a mirror without advisories, no network) is said, and fails nothing: nobody's change
is at fault there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 300  # seconds


def main() -> int:
    found = [*_python(), *_npm()]
    for line in found:
        print(f"vulnerable: {line}")
    return 1 if found else 0


def _python() -> list[str]:
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off"]
    told = _json([*command, "--format", "json"])
    packages = told.get("dependencies", []) if told else []
    asked = [one for one in packages if "skip_reason" not in one]
    if not asked:
        print("audit: PyPI's advisories are not to be had here")
        return []
    print(f"audit: {len(asked)} of {len(packages)} Python packages were looked up")
    return [f"{one['name']} {one['version']}: {flaw['id']}" for one in asked for flaw in one["vulns"]]


def _npm() -> list[str]:
    told = _json(["npm", "--prefix", str(ROOT / "client_web"), "audit", "--json"])
    if not told or "vulnerabilities" not in told:
        print("audit: the npm registry's advisories are not to be had here")
        return []
    print("audit: the page's packages were looked up")
    return [f"{name} (npm, {flaw['severity']})" for name, flaw in told["vulnerabilities"].items()]


def _json(command: list[str]) -> dict[str, Any] | None:
    """What a tool prints; None where it prints nothing that can be read."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        told = json.loads(result.stdout)
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return told if isinstance(told, dict) else None


if __name__ == "__main__":
    sys.exit(main())
