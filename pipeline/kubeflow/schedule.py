"""Schedules runs of the pipeline: KFP's recurring runs, by cron.

Contract: a scheduled run has the same pipeline root and the same checks as one by hand, and one
runs at a time. By default it keeps the version it was created with; ``newest`` follows the pipeline
instead, that is, whatever was uploaded last, by whomever. Every run reads the data that is there
when it runs. Works on KFP 2.5 to 2.17.
"""

import dataclasses
import re
from typing import Any

from core.config import InputError, require
from core.foreign import is_plain
from pipeline.kubeflow.access import Endpoint, no_noise, sentences
from pipeline.kubeflow.client import (
    PIPELINE,
    Job,
    find_experiment,
    find_pipeline,
    root_notes,
    upload,
)

_PAGE_SIZE = 100
_NEWEST = "newest"
_NAMED = re.compile(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly)")
_FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}
_NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}


@dataclasses.dataclass(frozen=True)
class Schedule:
    """One recurring run of the pipeline."""

    id: str
    name: str
    cron: str  # as KFP has it: seconds first
    version: str  # that it keeps, or newest
    root: str  # of its artifacts; empty: the cluster's own
    is_on: bool


def create(
    client: Any,
    endpoint: Endpoint,
    job: Job,
    name: str,
    when: str,
    newest: bool = False,
    replace: bool = False,
    experiment: str = PIPELINE,
) -> tuple[str, list[str]]:
    """Uploads the package if it is new, and creates a schedule of it.

    Args:
        client: As ``connect`` gives it.
        endpoint: The same endpoint.
        job: What every run is.
        name: Of the schedule, as ``check_name`` allows it.
        when: As ``kfp_cron`` gives it.
        newest: Whether each run takes the version uploaded last, not always this one.
        replace: Whether a schedule of this name is removed then.
        experiment: Name under which the web page gathers the runs; it is made if need be.

    Returns:
        Id of the schedule, and notes for the user.

    Raises:
        InputError: The name is taken, or the server refuses something.
    """
    notes = root_notes(job.root, endpoint)
    old = _named(schedules(client, endpoint), name)
    require(
        replace or not old,
        f"There is a schedule {name} already ({', '.join(s.cron for s in old)}); replace it with "
        "--replace, or give another --name.",
    )
    import kfp_server_api as api

    with no_noise(), sentences(endpoint):
        pipeline_id, version_id, note = upload(client, endpoint, job.package)
        body = api.V2beta1RecurringRun(
            display_name=name,
            description="by inkwell schedule",
            experiment_id=find_experiment(client, endpoint, experiment, create=True),
            namespace=endpoint.namespace,
            # Without a version, KFP takes the newest one for each run (resource_manager.go:1065 of
            # 2.5 and :1303 of 2.17); kfp.Client does not allow that.
            pipeline_version_reference=api.V2beta1PipelineVersionReference(
                pipeline_id=pipeline_id, pipeline_version_id=None if newest else version_id
            ),
            runtime_config=api.V2beta1RuntimeConfig(
                parameters=job.parameters, pipeline_root=job.root
            ),
            service_account=job.account,
            trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=when)),
            mode=api.RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,  # after a pause, one run and not one for each that was missed
        )
        made = client.recurring_runs.recurring_run_service_create_recurring_run(recurring_run=body)
        for schedule in old:
            client.delete_recurring_run(schedule.id)
    version = "the version uploaded last at that time" if newest else "always this version"
    where = job.root or "the own root of the cluster"
    notes += [
        note,
        f"Each run takes {version}; artifacts in {where}. Times are in the time zone of KFP's "
        "scheduler: UTC, unless it was set otherwise.",
    ]
    if old:
        notes.append(f"Replaced the schedule {name} that was there.")
    return made.recurring_run_id, notes


def check_name(name: str) -> None:
    """Raises ``InputError`` for a name of a schedule that cannot be read."""
    require(
        is_plain(name),
        f"--name {name!r} holds a character that is not seen, or none that is; give another.",
    )


def schedules(client: Any, endpoint: Endpoint) -> list[Schedule]:
    """The schedules of the pipeline in the user's namespace."""
    found, token = [], ""
    with no_noise(), sentences(endpoint):
        pipeline_id = find_pipeline(client, endpoint)
        while pipeline_id:
            page = client.list_recurring_runs(
                page_token=token, page_size=_PAGE_SIZE, namespace=endpoint.namespace
            )
            found += [s for s in page.recurring_runs or [] if _pipeline_of(s) == pipeline_id]
            token = page.next_page_token
            if not token:
                break
        return [_schedule(client, recurring) for recurring in found]


def remove(client: Any, endpoint: Endpoint, name: str) -> str:
    """Deletes a schedule; runs of it go on.

    Args:
        client: As ``connect`` gives it.
        endpoint: The same endpoint.
        name: Name or id of the schedule.

    Returns:
        Its id.

    Raises:
        InputError: There is none, or there are several of the name.
    """
    found = schedules(client, endpoint)
    chosen = [s for s in found if s.id == name] or _named(found, name)
    have = ", ".join(f"{s.name} ({s.id})" for s in found) or "none"
    require(bool(chosen), f"There is no schedule {name}; there are: {have}.")
    require(
        len(chosen) == 1,
        f"There are {len(chosen)} schedules {name}; name one by its id: "
        f"{', '.join(s.id for s in chosen)}.",
    )
    with no_noise(), sentences(endpoint):
        client.delete_recurring_run(chosen[0].id)
    return chosen[0].id


def kfp_cron(text: str) -> str:
    """The cron of five fields that everybody knows, as KFP reads it.

    KFP's scheduler takes the first of five fields for the seconds (robfig/cron 1.2 in its go.mod),
    so ``0 3 * * 1`` would run at three minutes past every hour.

    Args:
        text: Minute, hour, day, month, weekday; or such as ``@weekly``.

    Raises:
        InputError: It is neither.
    """
    if _NAMED.fullmatch(text):
        return text
    parts = text.split()
    require(
        len(parts) == len(_FIELDS),
        f"--cron {text!r} does not have five fields (minute hour day month weekday), such as "
        "'0 3 * * 1' for Mondays at 3:00, and is none of @hourly, @daily, @weekly, @monthly, "
        "@yearly.",
    )
    for part, (field, bounds) in zip(parts, _FIELDS.items(), strict=True):
        for item in part.split(","):
            _check_item(item, field, *bounds)
    return " ".join(["0", *parts])


def _check_item(item: str, field: str, low: int, high: int) -> None:
    """Raises ``InputError`` unless an item of a field is ``*``, a value or a range, with a step."""
    span, slash, step = item.partition("/")
    ends = [] if span in ("*", "?") else span.split("-")
    names = _NAMES.get(field, ())
    values = [
        names.index(end.lower()) + low if end.lower() in names else int(end)
        for end in ends
        if end.isdigit() or end.lower() in names
    ]
    good = (
        len(values) == len(ends) <= 2
        and values == sorted(values)
        and all(low <= value <= high for value in values)
        and (not slash or (step.isdigit() and int(step) > 0))
    )
    if not good:
        raise InputError(
            f"--cron: {item!r} is no {field}: a number from {low} to {high}, a range such as "
            f"{low}-{high}, or *, each with a step such as */2 if need be."
        )


def _named(found: list[Schedule], name: str) -> list[Schedule]:
    return [schedule for schedule in found if schedule.name == name]


def _pipeline_of(recurring: Any) -> str | None:
    reference = recurring.pipeline_version_reference
    return reference.pipeline_id if reference else None


def _schedule(client: Any, recurring: Any) -> Schedule:
    trigger = recurring.trigger and recurring.trigger.cron_schedule
    config = recurring.runtime_config
    return Schedule(
        id=recurring.recurring_run_id,
        name=recurring.display_name,
        cron=(trigger and trigger.cron) or "",
        version=_version(client, recurring.pipeline_version_reference),
        root=(config and config.pipeline_root) or "",
        is_on=recurring.status == "ENABLED",
    )


def _version(client: Any, reference: Any) -> str:
    """Name of the version that a schedule keeps."""
    if not reference.pipeline_version_id:
        return _NEWEST
    version = client.get_pipeline_version(reference.pipeline_id, reference.pipeline_version_id)
    return version.display_name
