"""What is told of a chaos run: its figures, its violations, and the timeline of each task that one is about."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.judging.evidence import Evidence
from tests.chaos.judging.judge import Violation, is_excused
from tests.chaos.plan import KINDS
from tests.chaos.run import Verdict

#: Violations that are printed one by one.
SHOWN = 40


def lines(verdict: Verdict, folder: Path) -> Iterator[str]:
    """The summary, and what was wrong."""
    evidence = verdict.evidence
    yield ""
    yield f"Tasks that were answered with 202 ({verdict.broker}, seed {verdict.seed})"
    ends: dict[str, Counter[str]] = defaultdict(Counter)
    for tolds in evidence.told.values():
        for task_id in tolds[0].task_ids:
            status = evidence.final(task_id)
            ends[tolds[0].kind][status["state"] if status else "404"] += 1
    for kind in KINDS:
        if ends[kind]:
            yield f"  {kind:<12} {_counted(ends[kind])}"
    total = sum(ends.values(), Counter[str]())
    yield f"  {'all':<12} {_counted(total)}"
    starts = Counter(entry.task_id for entry in evidence.entries if entry.what == "start")
    yield f"  attempts: {sum(starts.values())} of {len(starts)} tasks, {max(starts.values(), default=0)} at most"
    yield f"  all had ended {verdict.peace:.1f} s after the last fault"
    yield "Faults"
    done = [blow for blow in evidence.blows if not blow.text.startswith("not done")]
    for part in sorted({blow.part for blow in done}):
        yield f"  {part:<12} {_counted(Counter(blow.kind for blow in done if blow.part == part))}"
    yield "Answers"
    for ask in sorted({answer.ask for answer in evidence.answers}):
        answers = [answer for answer in evidence.answers if answer.ask == ask]
        codes = Counter(str(answer.code or "none") for answer in answers)
        took = max((a.took for a in answers if a.code and not is_excused(evidence, a)), default=0)
        yield f"  {ask:<12} {_counted(codes)}; the longest {took:.2f} s"
    yield ""
    if not verdict.violations:
        yield "No violation."
        return
    rules = Counter(violation.rule for violation in verdict.violations)
    yield f"{len(verdict.violations)} violations: {_counted(rules)}"
    for violation in verdict.violations[:SHOWN]:
        about = f" [{violation.task_id}]" if violation.task_id else ""
        yield f"  {violation.rule}: {_relative(violation.text, verdict.begun)}{about}"
    _write_timelines(verdict, folder)
    yield f"Logs, and a timeline of each task that is named: {folder}"


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counter.items()))


def _relative(text: str, begun: float) -> str:
    """Times as the lines about the faults have them."""
    words = text.split(" ")
    for place, word in enumerate(words):
        digits = word.strip("(),:")
        if digits.replace(".", "", 1).isdigit() and abs(float(digits) - begun) < 86_400:
            words[place] = word.replace(digits, f"{float(digits) - begun:.1f}")
    return " ".join(words)


def _write_timelines(verdict: Verdict, folder: Path) -> None:
    about: dict[str, list[Violation]] = defaultdict(list)
    for violation in verdict.violations:
        if violation.task_id:
            about[violation.task_id].append(violation)
    for task_id, violations in about.items():
        text = [f"broker {verdict.broker}, seed {verdict.seed}, task {task_id}", ""]
        text += [f"{v.rule}: {_relative(v.text, verdict.begun)}" for v in violations]
        text += ["", *timeline(verdict.evidence, task_id, verdict.begun)]
        (folder / f"timeline-{task_id}.txt").write_text("\n".join(text) + "\n")
    lines = [f"{e.at - verdict.begun:9.2f}  {e}" for e in verdict.evidence.entries]
    (folder / "notebook.txt").write_text("\n".join(lines) + "\n")


def timeline(evidence: Evidence, task_id: str, begun: float) -> list[str]:
    """All that is known of a task, in order: what was told of it, what it noted, and what was broken meanwhile."""
    found: list[tuple[float, str]] = []
    family = [t for tolds in evidence.told.values() for t in tolds if task_id in t.task_ids]
    key = family[0].key if family else ""
    for told in family:
        found.append((told.at, f"202 for {told.kind} with key {told.key}: {told.task_ids}"))
    if asked := evidence.cancelled.get(task_id):
        found.append((asked, "cancelled by its client"))
    for sight in evidence.bars.history[task_id]:
        found.append((sight.received, f"told: {_told(sight.status)}"))
    for entry in evidence.entries:
        if entry.task_id == task_id or (key and entry.key == key):
            where = f"in {entry.worker}, process {entry.pid}"
            other = "" if entry.task_id == task_id else f" of {entry.task_id}"
            found.append(
                (entry.at, f"noted: {entry.what} of attempt {entry.attempt}{other} {where}")
            )
    first = min((at for at, _ in found), default=0) - 10
    last = max((at for at, _ in found), default=0) + 10
    for blow in evidence.blows:
        if blow.during(first, last):
            text = f"FAULT: {blow.part}: {blow.text} (until {blow.ended - begun:.1f})"
            found.append((blow.begun, text))
    return [f"{at - begun:9.2f}  {text}" for at, text in sorted(found)]


def _told(status: dict[str, object] | None) -> str:
    if status is None:
        return "no such task"
    state, attempt = status["state"], status["attempt"]
    return f"{state} {status['current']}/{status['total']} attempt {attempt}: {status['status']}"
