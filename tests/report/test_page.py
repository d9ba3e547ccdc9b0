from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs

from reasonrl.report.page import json_for_script, page_sections, render_page, shortened, write_page
from reasonrl.report.read import read_run, read_runs

HOSTILE = "</script></pre><script>alert(1)</script><img src=https://evil.example/x.png onerror=alert(2)>{{ 7 * 7 }}"


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def _without_plotly(page: str) -> str:
    assert page.count(get_plotlyjs()) == 1
    return page.replace(get_plotlyjs(), "")


@pytest.fixture
def hostile_run(make_run, answer, write_answers, step):
    directory = make_run("hostile", job={"seed": 1, "note": HOSTILE})
    hostile = {"response": HOSTILE, "question": HOSTILE, "answer": HOSTILE, "benchmark": HOSTILE}
    detail = [{"component": HOSTILE, "outcome": "error", "value": None, "detail": HOSTILE}]
    write_answers(directory, "step-000000.jsonl", [answer(0, scores=detail, **hostile)])
    write_answers(directory, "step-000039.jsonl", [answer(39, scores=detail, **hostile)])
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(step(40, phase=HOSTILE, reward_components={HOSTILE: 1.0}).model_dump_json() + "\n")
    with (directory / "events.jsonl").open("a") as file:
        file.write(json.dumps({"time": 0.0, "step": 3, "reason": HOSTILE, "message": HOSTILE}) + "\n")
    return directory


def test_the_page_asks_the_network_for_nothing(make_run):
    page = _without_plotly(render_page(read_runs([make_run("a"), make_run("b")])))
    assert not re.search(r"https?://|//[a-z]|@import|url\(", page)
    for _, attributes in _Tags(page).tags:
        assert not {"src", "href", "srcset", "action", "data", "poster"} & set(attributes)


def test_the_page_forbids_itself_every_connection(make_run):
    tags = _Tags(_without_plotly(render_page([read_run(make_run())]))).tags
    (policy,) = [attributes["content"] for tag, attributes in tags if tag == "meta" and attributes.get("http-equiv")]
    assert "default-src 'none'" in policy
    assert not re.search(r"connect-src|\*|https?:", policy)


def test_text_of_a_model_stays_text(hostile_run):
    page = _without_plotly(render_page([read_run(hostile_run, label=HOSTILE)], title=HOSTILE))
    parsed = _Tags(page)
    assert [tag for tag, _ in parsed.tags if tag == "script"] == ["script"] * 3
    assert not [tag for tag, _ in parsed.tags if tag == "img"]
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    assert parsed.text.count(HOSTILE) >= 4
    assert "49" not in parsed.text


def test_the_figures_are_in_the_page_as_json_without_a_tag(make_run):
    runs = read_runs([make_run("a"), make_run("b")])
    page = _without_plotly(render_page(runs))
    text = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)[1]
    assert "<" not in text
    drawn = json.loads(text)["figures"]
    expected = {figure.id for section in page_sections(runs, window=5) for figure in section.figures}
    assert set(drawn) == expected
    places = {attributes["data-figure"] for _, attributes in _Tags(page).tags if "data-figure" in attributes}
    assert places == expected


def test_the_page_says_what_a_reader_looks_for(make_run):
    page = _without_plotly(render_page([read_run(make_run())]))
    text = " ".join("".join(_Tags(page).text).split())
    for said in (
        "rose from 20.0 % ± 3.0 to 60.0 % ± 3.0",
        "smoothed over 5 steps",
        "LengthHacking",
        "length rose and accuracy did not",
        "+40.0",
        "early, step 0 wrong",
        "late, step 39 right",
        "It is 5.",
        "answer: 4",
        "seed: 1",
    ):
        assert said in text


def test_several_runs_have_a_switch_each_and_a_table_of_differences(make_run):
    runs = read_runs([make_run("a", job={"seed": 1}), make_run("b", job={"seed": 2})])
    parsed = _Tags(_without_plotly(render_page(runs)))
    assert [attributes["data-run"] for _, attributes in parsed.tags if "data-run" in attributes] == ["0", "1"]
    assert "What the runs set differently" in parsed.text
    assert "seed" in parsed.text


def test_what_could_not_be_read_is_on_the_page(make_run):
    directory = make_run()
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "st')
    assert "the last line is not complete" in render_page([read_run(directory)])


def test_a_run_without_steps_has_a_page(tmp_path):
    (tmp_path / "job.yaml").write_text("metadata: {name: young}\n")
    page = render_page([read_run(tmp_path)])
    assert "No training step is done yet." in page
    assert "data-figure" not in _without_plotly(page).split('id="figures"')[0]


def test_json_in_a_script_reads_back_and_refuses_what_json_cannot_say():
    value = {"text": "</script><!-- & \u2028 é", "n": [1, None, 0.5]}
    text = json_for_script(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_for_script({"n": float("nan")})


def test_a_long_answer_keeps_its_beginning_and_end():
    text = "a" * 10_000 + "z" * 10_000
    short = shortened(text)
    assert short.startswith("a" * 3000)
    assert short.endswith("z" * 3000)
    assert "14,000 letters left out" in short
    assert shortened("short") == "short"


def test_a_page_takes_the_place_of_an_older_one_whole(tmp_path):
    path = tmp_path / "new" / "report.html"
    write_page("one", path)
    write_page("two", path)
    assert path.read_text() == "two"
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize("count", [1, 3])
def test_a_browser_draws_every_figure(make_run, tmp_path, count):
    runs = read_runs([make_run(f"r{i}") for i in range(count)])
    path = tmp_path / "report.html"
    write_page(render_page(runs), path)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"]
    command += [
        "--disable-background-networking",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=10000",
    ]
    dumped = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    drawn = dumped.count('class="main-svg"')
    figures = sum(len(section.figures) for section in page_sections(runs, window=5))
    assert len(re.findall(r'class="plot js-plotly-plot"', dumped)) == figures
    assert drawn >= figures
    assert 'data-theme="' in dumped
