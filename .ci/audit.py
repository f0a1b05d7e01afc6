"""Asks pip-audit for known vulnerabilities of the installed packages: status 1 where there are some.

Where the service cannot be asked, that is said loudly and the build goes on: run it again where there is a network.
"""

import json
import subprocess
import sys

LOUD = "!" * 100


def audited():
    """pip-audit's report, or why there is none."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--local",
        "--skip-editable",
        "--progress-spinner",
        "off",
        "-f",
        "json",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        return None, "pip-audit had no answer within ten minutes"
    try:
        return json.loads(done.stdout)["dependencies"], ""
    except (ValueError, KeyError, TypeError):
        return None, done.stderr.strip()[-2000:]


def main():
    """Prints what was found. Returns the exit status."""
    packages, reason = audited()
    asked = [one for one in packages or () if "skip_reason" not in one]
    if not asked:
        reason = reason or f"the service knows none of the {len(packages or ())} installed packages"
        print(f"{LOUD}\nNOT AUDITED for known vulnerabilities: {reason}\n{LOUD}", file=sys.stderr)
        return 0
    found = [one for one in asked if one["vulns"]]
    for one in found:
        for vuln in one["vulns"]:
            fixed = ", ".join(vuln["fix_versions"]) or "no version yet"
            print(f"{one['name']} {one['version']}: {vuln['id']}, fixed in {fixed}", file=sys.stderr)
    print(
        f"{len(asked)} packages audited, {len(packages) - len(asked)} unknown to the service, {len(found)} vulnerable"
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
