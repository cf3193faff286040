"""Pages and cards show text that others wrote as it is: escaped, and nothing that acts unseen."""

import yaml
from markupsafe import Markup

from components.model_card.card import build_card
from components.model_card.content import Facts
from components.model_card.formats import to_html, to_markdown
from components.pages import page_environment

# Right to left, an isolate, a space without width, CSI, ESC, and markup of HTML.
HOSTILE = "<img src=x>\u202egnp.exe\u2066\u200b\x9b31m\x1b[2J"
ACTING = "\u202e\u2066\u200b\x9b\x1b"
SEEN = r"gnp.exe\u2066\u200b\x9b31m\x1b"


def test_a_page_shows_what_acts_and_escapes_the_rest(tmp_path):
    (tmp_path / "page.jinja").write_text('<p title="{{ words }}">{{ words }}</p>{{ part }}')
    template = page_environment(tmp_path).get_template("page.jinja")
    page = template.render(words=HOSTILE, part=Markup("<b>ours</b>"))
    assert page.count(SEEN) == 2 and not set(page) & set(ACTING)
    assert "<img" not in page and page.endswith("<b>ours</b>")


def test_a_card_shows_what_acts_in_both_formats():
    gate = {"metric": HOSTILE, "title": HOSTILE, "value": 1.0, "passed": True, "sentence": HOSTILE}
    facts = Facts(
        model="gan",
        metrics={"gates": [gate], "figures": [], "notes": [HOSTILE]},
        lineage={"run_id": HOSTILE},
        splits=[],
        serving_check=None,
        pictures=[],
        data_dir=f"/data/{HOSTILE}",
    )
    card = build_card(facts)
    html, markdown = to_html(card), to_markdown(card)
    for text in (html, markdown):
        assert not set(text) & set(ACTING) and "gnp.exe" in text
    assert "<img" not in html
    assert yaml.safe_load(markdown.split("---")[1])["tags"][0] == "inkwell"
