"""Everything of an evaluation stands once in the report, in the order of the topics.

That real evaluations carry the right topics is tested in tests/components/evaluator.
"""

import dataclasses

from components.report.topics import TITLES, by_topic


def test_topics_stand_in_their_order_whatever_that_of_the_evaluation(report_data):
    tables = [{"title": key, "topic": key} for key in reversed(TITLES)]
    model = dataclasses.replace(
        report_data.models[1], evaluation={"tables": tables}, pictures=[], map=None
    )
    topics = by_topic(model)
    assert [topic.key for topic in topics] == list(TITLES)
    assert [[t["title"] for t in topic.tables] for topic in topics] == [[key] for key in TITLES]


def test_an_evaluation_of_an_earlier_version_is_shown_under_other_measurements(report_data):
    model = report_data.models[1]
    old = {
        "figures": [{"name": "kid", "value": 1.0}, {"name": "fid", "value": None}],
        "tables": [{"title": "Denoising"}],
    }
    pictures = [dataclasses.replace(picture, topic="") for picture in model.pictures]
    [other] = by_topic(dataclasses.replace(model, evaluation=old, pictures=pictures))
    assert other.title == "Other measurements"
    assert [figure["name"] for figure in other.figures] == ["kid"]
    assert [figure["name"] for figure in other.more_figures] == ["fid"]
    assert (list(other.tables), list(other.pictures)) == (old["tables"], pictures)


def test_a_topic_of_a_later_version_is_shown_too(report_data):
    new = {"tables": [{"title": "New", "topic": "speech"}]}
    topics = by_topic(dataclasses.replace(report_data.models[1], evaluation=new, pictures=[]))
    assert [topic.key for topic in topics if topic.tables] == ["other"]
