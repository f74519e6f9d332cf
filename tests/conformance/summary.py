"""summary.py REPORT STATUS: summarizes the report of Autobahn|Testsuite in the folder REPORT.

STATUS is the exit status of wstest. The summary is printed, and written to REPORT/summary.json. The exit status is 1 if
a case failed, if a case is missing from the report, or if wstest failed.
"""

import ast
import collections
import json
import pathlib
import re
import sys

BEHAVIORS = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED", "MISSING"]
GOOD_BEHAVIORS = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED"]
GOOD_CLOSES = ["OK", "INFORMATIONAL"]


def requested_cases(report):
    """The cases that wstest was asked to run, from its log."""
    log = (report / "wstest.log").read_text(errors="replace")
    match = re.search(r"^Cases = (\[.*\])$", log, re.M)
    return ast.literal_eval(match[1]) if match else []


def results(report):
    """The result of each case, by its number."""
    try:
        return json.loads((report / "index.json").read_text()).get("testee", {})
    except (OSError, ValueError):
        return {}


def case_order(case):
    return [int(part) for part in case.split(".")]


def is_good(result):
    return result["behavior"] in GOOD_BEHAVIORS and result["behaviorClose"] in GOOD_CLOSES


def explanation(report, result):
    """The suite's own explanation of a case that is not OK."""
    try:
        details = json.loads((report / result["reportfile"]).read_text())
        reasons = []
        if result["behavior"] != "OK":
            reasons.append(details["result"])
        if result["behaviorClose"] != "OK":
            reasons.append("close: " + details["resultClose"])
    except (OSError, ValueError, KeyError) as error:
        return f"no report of the case: {error}"
    return " ".join(" / ".join(reasons).split())


def summarize(report, status):
    requested, found = requested_cases(report), results(report)
    behaviors = collections.Counter({behavior: 0 for behavior in BEHAVIORS})
    closes, close_codes, not_ok = collections.Counter(), collections.Counter(), []
    bad = int(status != 0) + int(not requested or not found)
    for case in sorted(set(requested) | set(found), key=case_order):
        result = found.get(case)
        if result is None:
            behaviors["MISSING"] += 1
            bad += 1
            not_ok.append({"case": case, "behavior": "MISSING", "behaviorClose": None, "bad": True,
                           "why": "not in the report"})
            continue
        behaviors[result["behavior"]] += 1
        closes[result["behaviorClose"]] += 1
        close_codes[str(result["remoteCloseCode"])] += 1
        good = is_good(result)
        bad += not good
        if result["behavior"] != "OK" or not good:
            not_ok.append({"case": case, "behavior": result["behavior"], "behaviorClose": result["behaviorClose"],
                           "bad": not good, "why": explanation(report, result)})
    return {"requested": len(requested), "run": len(found), "status": status, "behavior": dict(behaviors),
            "behaviorClose": dict(closes), "closeCodes": dict(close_codes), "bad": bad, "not_ok": not_ok}


def print_summary(summary):
    counts = ", ".join(f"{count} {behavior}" for behavior, count in summary["behavior"].items())
    print(f"{summary['run']} of {summary['requested']} cases run: {counts}")
    closes = ", ".join(f"{count} {close}" for close, count in sorted(summary["behaviorClose"].items())) or "none"
    print(f"closing handshakes: {closes}; {summary['closeCodes'].get('None', 0)} without a close code")
    if summary["status"] != 0:
        print(f"wstest failed with exit status {summary['status']}, see wstest.log")
    unimplemented = collections.Counter()
    for case in summary["not_ok"]:
        if case["behavior"] == "UNIMPLEMENTED" and not case["bad"]:
            unimplemented[case["case"].split(".")[0]] += 1
        else:
            print(f"  {case['case']:8} {case['behavior']}, close {case['behaviorClose']}: {case['why']}")
    for group, count in unimplemented.items():
        print(f"  {group + '.*':8} UNIMPLEMENTED, {count} cases")


def main():
    report, status = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    summary = summarize(report, status)
    (report / "summary.json").write_text(json.dumps(summary, indent=1))
    print_summary(summary)
    sys.exit(1 if summary["bad"] else 0)


main()
