"""``inkwell schedule`` on a double of KFP's server."""

import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.config import InputError
from pipeline.cli.main import app
from pipeline.kubeflow import schedule
from pipeline.kubeflow.access import Endpoint, connect
from pipeline.kubeflow.client import read_job
from tests.kubeflow.commands import run_inkwell, submit
from tests.kubeflow.kfp_server import KfpServer


@pytest.fixture
def server():
    with KfpServer() as running:
        yield running


def changed(package: Path) -> Path:
    path = package.with_name("changed.yaml")
    path.write_text("# newer\n" + package.read_text())
    return path


def create(server: KfpServer, package: Path, cron: str = "0 3 * * 1", **given: Any) -> str:
    endpoint = Endpoint(server.url, namespace=given.pop("namespace", None))
    name = given.pop("name", "weekly")
    client = connect(endpoint, needs_namespace=True)
    made, _ = schedule.create(
        client, endpoint, read_job(package, {}), name, schedule.kfp_cron(cron), **given
    )
    return made


def listed(server: KfpServer) -> list[schedule.Schedule]:
    endpoint = Endpoint(server.url)
    return schedule.schedules(connect(endpoint), endpoint)


def test_a_schedule_is_created_listed_and_removed(server, package):
    made = run_inkwell(
        *("schedule", "create", "--endpoint", server.url, "--pipeline", package),
        *("--cron", "0 3 * * 1", "--name", "weekly"),
    )
    assert made.returncode == 0, made.stderr
    assert "always this version; artifacts in minio://mlpipeline/inkwell" in made.stdout
    assert "UTC" in made.stdout
    [record] = server.recurring.values()
    assert record["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert record["runtime_config"]["pipeline_root"] == "minio://mlpipeline/inkwell"
    assert (record["max_concurrency"], record["no_catchup"]) == ("1", True)
    shown = run_inkwell("schedule", "list", "--endpoint", server.url)
    [version] = server.versions.values()
    words = ["weekly", "0 0 3 * * 1", version["display_name"], "minio://mlpipeline/inkwell", "on"]
    assert shown.returncode == 0 and all(word in shown.stdout for word in words)
    gone = run_inkwell("schedule", "remove", "weekly", "--endpoint", server.url)
    assert gone.returncode == 0 and not server.recurring, gone.stderr
    none = run_inkwell("schedule", "list", "--endpoint", server.url)
    assert none.returncode == 0 and "There are no schedules" in none.stdout


def test_three_weeks_of_runs_have_the_same_root_and_no_parameter_of_the_data(server, package):
    schedule_id = create(server, package)
    roots = []
    for _ in range(3):
        run = server.runs[server.start(schedule_id)]
        roots.append(run["runtime_config"]["pipeline_root"])
        assert run["recurring_run_id"] == schedule_id
        assert not run["runtime_config"].get("parameters"), "nothing that a week would leave stale"
    assert roots == ["minio://mlpipeline/inkwell"] * 3


def test_a_schedule_keeps_its_version_or_follows_the_newest(server, package):
    pinned, newest = create(server, package), create(server, package, name="new", newest=True)
    submit(server, changed(package))
    first, second = (v["pipeline_version_id"] for v in server.versions.values())

    def version(schedule_id: str) -> str:
        run = server.runs[server.start(schedule_id)]
        return run["pipeline_version_reference"]["pipeline_version_id"]

    assert (version(pinned), version(newest)) == (first, second)
    assert {s.name: s.version == "newest" for s in listed(server)} == {"weekly": False, "new": True}


def test_a_taken_name_is_one_sentence_and_replace_renews_it(server, package):
    old = create(server, package)
    with pytest.raises(InputError, match=r"There is a schedule weekly already .*--replace"):
        create(server, changed(package))
    assert list(server.recurring) == [old] and len(server.versions) == 1
    new = create(server, changed(package), replace=True)
    assert list(server.recurring) == [new]


def test_schedules_of_other_pipelines_are_left_alone(server, package):
    create(server, package)
    other = {"pipeline_id": "other", "pipeline_version_id": "v"}
    server.recurring["x"] = {
        **{"recurring_run_id": "x", "display_name": "weekly", "pipeline_version_reference": other}
    }
    assert len(listed(server)) == 1
    endpoint = Endpoint(server.url)
    schedule.remove(connect(endpoint), endpoint, "weekly")
    assert list(server.recurring) == ["x"]


def test_more_schedules_than_a_page_are_all_found(server, package, monkeypatch):
    monkeypatch.setattr(schedule, "_PAGE_SIZE", 2)
    for number in range(5):
        create(server, package, name=f"s{number}")
    assert [s.name for s in listed(server)] == ["s0", "s1", "s2", "s3", "s4"]


def test_several_users_have_schedules_of_their_own(package):
    with KfpServer(multi_user=True) as server:
        create(server, package, namespace="team-a")
        create(server, package, namespace="team-b")
        assert [r["namespace"] for r in server.recurring.values()] == ["team-a", "team-b"]
        endpoint = Endpoint(server.url, namespace="team-a")
        assert len(schedule.schedules(connect(endpoint), endpoint)) == 1
        with pytest.raises(InputError, match="name the namespace of your profile with --namespace"):
            create(server, package)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0 3 * * 1", "does not have five fields"),
        ("weekly", "does not have five fields"),
        ("60 3 * * 1", "'60' is no minute: a number from 0 to 59"),
        ("0 3 * * 7", "'7' is no weekday"),
        ("0 3 * * mond", "'mond' is no weekday"),
        ("0 3 0 * *", "'0' is no day"),
        ("0 5-3 * * *", "'5-3' is no hour"),
        ("*/0 * * * *", "'\\*/0' is no minute"),
        ("0 3 * * 1,", "'' is no weekday"),
    ],
)
def test_a_wrong_cron_is_one_sentence(text, words):
    with pytest.raises(InputError, match=words):
        schedule.kfp_cron(text)


@pytest.mark.parametrize(
    ("text", "kfp"),
    [
        ("0 3 * * 1", "0 0 3 * * 1"),
        ("*/15 8-18 * jan-mar mon-fri", "0 */15 8-18 * jan-mar mon-fri"),
        ("0,30 3 1 */2 ?", "0 0,30 3 1 */2 ?"),
        ("@weekly", "@weekly"),
    ],
)
def test_a_cron_of_five_fields_gets_its_seconds(text, kfp):
    assert schedule.kfp_cron(text) == kfp


def test_a_cron_of_mondays_runs_on_mondays():
    """By the rule of robfig/cron 1.2, whose first field is the seconds."""
    second, minute, hour, _, _, weekday = schedule.kfp_cron("0 3 * * 1").split()
    monday = datetime.datetime(2026, 1, 5, int(hour), int(minute), int(second), tzinfo=datetime.UTC)
    assert monday.isoweekday() % 7 == int(weekday)


def test_a_schedule_that_is_not_there_is_one_sentence(server, package):
    create(server, package)
    result = CliRunner().invoke(app, ["schedule", "remove", "monthly", "--endpoint", server.url])
    assert result.exit_code == 2 and result.output.count("\n") == 1
    assert "There is no schedule monthly; there are: weekly (" in result.output
