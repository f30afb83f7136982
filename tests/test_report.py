"""The report as files: what is shown of which figure, words and numbers, and what happens to the folders."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from paper.figures import FIGURES
from paper.pipeline import Build, make, write
from paper.report import animation, build, collect, model, numbers, tutorial, words
from paper.report.cells import Cell, cells, leading
from solvers.generated import isotropic_truncated_relu
from tests.report_data import TUTORIAL, figures, make_report, rewrite
from workbench import cli
from workbench.derivation import derive
from workbench.errors import BadInput
from workbench.module_certificates import certify_module

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """A page: its elements with attributes and text; asserts that tags are balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text("utf-8")
        self.stack: list[int] = []
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(self.source)
        self.close()
        assert not self.stack, f"{path.name}: {self.elements[self.stack[-1]]} is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))
        if tag not in VOID:
            self.stack.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "summary", "small", "span"):
            self.handle_data(" ")
        assert self.elements[self.stack.pop()][0] == tag, f"</{tag}>"

    def handle_data(self, data: str) -> None:
        for place in self.stack:
            self.elements[place][2].append(data)

    def all(self, *tags: str, **attributes: str) -> list[tuple[str, dict[str, str], str]]:
        """Elements of these tags; class_="x" asks for one of the classes."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            (tag, attrs, " ".join("".join(text).split()))
            for tag, attrs, text in self.elements
            if (not tags or tag in tags)
            and all(value in attrs.get(n, "").split() for n, value in wanted.items())
        ]

    def texts(self, *tags: str, **attributes: str) -> list[str]:
        return [text for _, _, text in self.all(*tags, **attributes)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures, tutorial and their report."""
    folder = tmp_path_factory.mktemp("report")
    make_report(folder)
    return folder


@pytest.fixture
def report(place: Path) -> Path:
    return place / "report"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without derivations and without the tutorial."""
    monkeypatch.setattr(build, "TUTORIAL", Path("none"))
    part = model.ModelPart(
        "m", "m", words.Markup(), words.Markup(), 0, (), {"script": "", "sympy": ""}, words.Markup(), 0
    )
    monkeypatch.setattr(build, "model", lambda name: part)


def metrics_of(place: Path, name: str, convention: str = "std") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (place / "figures" / convention / name / "metrics.json").read_text("utf-8")
    )
    return content


def plain(markup: str) -> str:
    return html.unescape(re.sub("<[^>]*>", "", markup))


# ---- pages


def test_every_page_is_there_and_well_formed(report: Path) -> None:
    names = {path.name for path in report.glob("*.html")}
    assert names == {"index.html", "tutorial.html", *(f"{name}.html" for name in FIGURES)}
    for name in names:
        page = Page(report / name)
        ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
        assert len(ids) == len(set(ids)), name
        assert page.all("html", lang="en") and len(page.all("h1")) == 1 and page.texts("title")[0]
        levels = [int(tag[1]) for tag, _, _ in page.all("h1", "h2", "h3", "h4")]
        assert levels[0] == 1 and all(b <= a + 1 for a, b in pairwise(levels)), (
            name,
            levels,
        )


def test_every_link_and_source_leads_to_a_file_of_the_report(report: Path) -> None:
    pages = {path: Page(path) for path in report.glob("*.html")}
    for path, page in pages.items():
        links = [
            attrs[n] for _, attrs, _ in page.elements for n in ("href", "src", "xlink:href") if n in attrs
        ]
        assert len(links) > 5
        for link in links:
            file, _, fragment = link.partition("#")
            target = path if not file else report / file
            assert target.is_file() and report in target.resolve().parents, f"{path.name}: {link}"
            if fragment:
                assert any(attrs.get("id") == fragment for _, attrs, _ in pages[target].elements), link
    for path in (*report.glob("*.css"), *report.glob("*.js")):
        assert not re.search(
            r"url\((?!#|`?#)|@import|fetch\(|import\(", path.read_text("utf-8").replace("url(#${", "url(#")
        )


def test_the_index_has_every_figure_with_its_states_in_words(report: Path) -> None:
    page = Page(report / "index.html")
    cards = page.texts("li", class_="card")
    assert len(cards) == len(FIGURES)
    for card, figure in zip(cards, FIGURES.values(), strict=True):
        assert plain(words.signs(figure.title))[1:] in card
    by_name = dict(zip(FIGURES, cards, strict=True))
    assert "std smoke scale ✓ up to date ✗ 1 of 6 checks fail" in by_name["noisy"]
    assert "variance smoke scale △ stale △ when made: 1 of 6 checks fail" in by_name["noisy"]
    assert "std smoke scale ✓ up to date ✓ all 3 checks hold" in by_name["animation"]
    assert "std ✗ foreign" in by_name["failure"] and "variance … unfinished" in by_name["landscape"]
    assert (
        "std ○ missing workbench reproduce distribution --scale smoke --convention std --seed 3 --out FIGURES/std"
        in by_name["distribution"]
    )
    summary, _ = page.texts("p", class_="summary")
    missing = 2 * len(FIGURES) - 5
    others = "2 up to date, 1 stale, 1 unfinished, 1 foreign"
    assert summary == f"{others}, {missing} missing; of the figures up to date 1 of 9 checks fail."
    assert "FIGURES in a command is the folder that the report was made of." in page.texts("p")
    assert page.texts("section", class_="opening")[0].count(". ") >= 1
    assert any(attrs["href"] == "tutorial.html" for _, attrs, text in page.all("a") if text == "A first look")
    assert re.search(r"workbench \S+, python \S+, sympy 1\.14", " ".join(page.texts("dd")))


def test_nothing_of_what_is_foreign_unfinished_or_missing_is_shown(place: Path, report: Path) -> None:
    everything = "".join(
        path.read_text("utf-8") for path in report.rglob("*") if path.suffix in (".html", ".json")
    )
    assert "123.456" not in everything and "123.456" not in re.sub("<[^>]*>", "", everything)
    for name in ("failure", "landscape", "distribution"):
        page = Page(report / f"{name}.html")
        assert not page.all("img") and not page.all("section", id="std")
    page = Page(report / "failure.html")
    assert (
        "workbench reproduce failure --scale smoke --convention std --seed 3 --out FIGURES/std"
        in page.texts("code")
    )
    altered = "std/failure/metrics.json is not what was written there (content hash)"
    assert any(text.startswith(f"Not shown: {altered}: ") for text in page.texts("p", class_="mend"))
    assert f"not shown: {altered}" in Page(report / "index.html").source.replace("Not", "not")
    foreign, _ = collect.stands(figures(), place / "figures")["failure"]
    assert (
        foreign.state == "foreign" and foreign.flaw == altered and not foreign.metrics and not foreign.content
    )
    copied = {path.relative_to(report / "pictures").parts[:2] for path in (report / "pictures").rglob("*.*")}
    assert copied == {("std", "noisy"), ("std", "animation"), ("variance", "noisy")}


@pytest.mark.parametrize("name", ["failure", "landscape", "distribution"])
def test_what_depends_on_no_run_is_told_without_one(report: Path, name: str) -> None:
    page, preset = Page(report / f"{name}.html"), FIGURES[name].preset
    model = preset["model"].value
    assert page.all("section", id="model") and len(page.all("math")) > 10
    for part in ("derivation", "certificates", "code"):
        assert page.all("section", id=f"{part}-{model}"), part
    (section,) = [text for _, attrs, text in page.all("section", id="preset")]
    for key, parameter in preset.items():
        values = [parameter.at(scale) for scale in ("smoke", "desk", "paper")]
        if parameter.at("paper", "std") == parameter.at("paper", "variance"):
            told = " ".join(plain(numbers.value(value)) for value in values)
            assert f"{key} {told} {parameter.provenance}" in section, key
    assert "Provenance: deck read off" in section
    assert name != "landscape" or "slow_from std: 0.45; variance: 0.75" in section
    assert not Page(report / "noisy.html").all("section", id="preset")


def test_what_is_stale_says_so_where_it_is_shown(report: Path) -> None:
    page = Page(report / "noisy.html")
    sections = {attrs["id"]: text for _, attrs, text in page.all("section") if "id" in attrs}
    assert "Stale. This was made by earlier code, or from an earlier preset" in sections["variance"]
    assert "Stale" not in sections["std"] and "△" not in sections["std"]
    # its checks held, and hold no more
    assert "When made: 1 of 6 checks fail." in sections["variance"] and "△ held" in sections["variance"]
    assert "✓" not in sections["variance"] and "✗" not in sections["variance"]
    assert "When made: Does not hold:" in sections["variance"]


@pytest.mark.usefixtures("quick")
def test_a_card_shows_a_picture_that_is_up_to_date_and_says_of_what(place: Path, tmp_path: Path) -> None:
    for state in ("stale", "current"):  # first with the stale one alone
        shutil.copytree(
            place / "figures" / "std" / "noisy", tmp_path / "in" / "std" / "noisy", dirs_exist_ok=True
        )
        rewrite(tmp_path / "in" / "std" / "noisy", metrics="of earlier code")
        if state == "current":
            other = figures()["noisy"]
            make(other, tmp_path / "in" / "variance" / "noisy", other.setting("smoke", "variance", 3))
        build.write(tmp_path / "in", tmp_path / "out", index=figures())
        page = Page(tmp_path / "out" / "index.html")
        ((_, attrs, _),) = page.all("img")
        shown = {"stale": ("std", "std, stale"), "current": ("variance", "variance")}[state]
        assert attrs["src"] == f"pictures/{shown[0]}/noisy/figure.svg"
        assert page.texts("p", class_="which") == [shown[1]]
        summary = page.texts("p", class_="summary")[0]
        assert ("up to date no checks" in summary) == (state == "stale")


@pytest.mark.usefixtures("quick")
def test_what_is_published_is_what_was_hashed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that somebody changes while the derivations run are published as they were."""
    noisy = tmp_path / "in" / "std" / "noisy"
    shutil.copytree(place / "figures" / "std" / "noisy", noisy)
    before, quick = tree(noisy), build.model

    def meanwhile(name: str) -> model.ModelPart:
        for file in ("figure.svg", "figure.png", "metrics.json"):
            (noisy / file).write_text("changed")
        return quick(name)

    monkeypatch.setattr(build, "model", meanwhile)
    build.write(tmp_path / "in", tmp_path / "out", index=figures())
    copies = tree(tmp_path / "out" / "pictures" / "std" / "noisy")
    assert copies == {name: before[name] for name in ("figure.svg", "figure.png", "metrics.json")}


def test_a_file_that_changes_between_two_looks_is_foreign(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = tmp_path / "std" / "noisy"
    shutil.copytree(place / "figures" / "std" / "noisy", noisy)
    look = collect.state

    def then(figure: Any, folder: Path) -> str:
        found = look(figure, folder)
        (noisy / "figure.svg").write_text("changed")
        return found

    monkeypatch.setattr(collect, "state", then)
    stand = collect.stands(figures(), tmp_path)["noisy"][0]
    assert stand.state == "foreign" and stand.flaw.startswith("std/noisy/figure.svg is not what was written")


@pytest.mark.parametrize("name", ["noisy", "animation"])
def test_pictures_tell_the_finding(place: Path, report: Path, name: str) -> None:
    finding = FIGURES[name].drawing.alt(metrics_of(place, name))
    for page in ("index.html", f"{name}.html"):
        alts = {attrs["src"]: attrs["alt"] for _, attrs, _ in Page(report / page).all("img")}
        assert alts[f"pictures/std/{name}/figure.svg"] == finding
    shown = report / "pictures" / "std" / name
    for file in ("figure.svg", "figure.png", "metrics.json"):
        assert (shown / file).read_bytes() == (place / "figures" / "std" / name / file).read_bytes()
    assert plain(words.signs(finding)) in Page(report / f"{name}.html").texts("p", class_="finding")


def test_checks_parameters_runs_and_all_other_numbers_are_told(place: Path, report: Path) -> None:
    metrics, page = metrics_of(place, "noisy"), Page(report / "noisy.html")
    rows = page.texts("tr")
    for check in metrics["checks"]:
        (row,) = [row for row in rows if plain(words.signs(check["claim"])) in row][:1]
        assert row.startswith("✓ holds" if check["holds"] else "✗ fails")
        assert plain(words.signs(check["reason"])) in row and plain(numbers.interval(check)) in row
        assert plain(numbers.value(check["value"], 4)) in row
    (failing,) = [check for check in metrics["checks"] if not check["holds"]]
    banners = page.texts("p", class_="bad")
    assert banners == [plain(numbers.failure(failing))]
    for name, entry in metrics["parameters"].items():
        assert f"{name} {plain(numbers.value(entry['value']))} {entry['provenance']}" in rows
    assert any(text.startswith("Provenance: deck read off") for text in page.texts("p"))
    for name, seconds in metrics["wall_time"].items():
        assert f"{name} {numbers.duration(seconds)}" in rows
    assert any(
        text.startswith(f"Seed 3. Made with python {metrics['versions']['python']}")
        for text in page.texts("p")
    )
    first, last = metrics["snapshots"][0]["risk"]["langevin"], metrics["snapshots"][-1]["risk"]["langevin"]
    assert f"langevin {first:.6g} {last:.6g}" in rows
    assert f"relaxation_rate {metrics['gibbs']['relaxation_rate']:.6g}" in rows


def test_the_model_in_words_is_that_of_the_script(report: Path) -> None:
    script = Path(str(import_module("paper.noisy_simulate").__file__)).read_text("utf-8")
    title, *paragraphs = leading(script).split("\n\n")
    (section,) = [text for _, attrs, text in Page(report / "noisy.html").all("section", id="model")]
    assert plain(words.signs(title)) in section
    for paragraph in paragraphs:
        assert " ".join(plain(words.signs(paragraph)).split())[:60] in section


def test_the_derivation_is_folded_with_its_formulas_and_certificates(report: Path) -> None:
    derivation = derive(import_module("derivations.isotropic_truncated_relu").MODEL)
    page = Page(report / "noisy.html")
    (section,) = [text for _, attrs, text in page.all("section", id="derivation-isotropic_truncated_relu")]
    titles = [step.title for step in derivation.steps]
    assert [text for text in page.texts("summary") if text in titles] == titles
    assert "O(d), so the distributional dynamics stays invariant" in section
    assert len(page.all("math")) == len(titles) and not page.all("details", open="")
    certificates = (*derivation.certificates, *certify_module(isotropic_truncated_relu, derivation))
    rows = page.texts("tr")
    for c in certificates:
        told = [plain(words.signs(c.claim)), plain(words.signs(c.oracle)), str(c.points)]
        told += [plain(numbers.value(c.deviation, 2)), plain(numbers.value(c.tolerance, 1))]
        assert " ".join(told) in rows
    assert f"all {len(certificates)} hold" in " ".join(page.texts("p"))


@pytest.mark.parametrize("name", ["noisy", "landscape"])
def test_every_table_names_its_rows_and_columns(report: Path, name: str) -> None:
    tables = re.findall("<table.*?</table>", (report / f"{name}.html").read_text("utf-8"), flags=re.DOTALL)
    assert len(tables) > 10
    for table in tables:
        head, _, body = table.partition("</thead>")
        assert re.search('<th scope="col', head) and all(
            " scope=" in th for th in re.findall("<th[ >][^>]*>", table)
        )
        assert all(row.count('scope="row"') == 1 for row in re.findall("<tr.*?</tr>", body, flags=re.DOTALL))
    folded = re.search(
        '<ol class="steps">.*</ol>', (report / f"{name}.html").read_text("utf-8"), flags=re.DOTALL
    )
    assert folded is not None
    captions = re.findall("<caption>(.*?)</caption>", folded[0])
    assert len(captions) == folded[0].count("<table") and set(captions) == {
        "Certificates: largest deviation relative to max(1, |value|)"
    }


def test_the_generated_module_is_told_whole(report: Path) -> None:
    source = Path(isotropic_truncated_relu.__file__).read_text("utf-8")
    page = (report / "noisy.html").read_text("utf-8")
    (code,) = re.findall(r'<pre class="code"><code>(.*?)</code></pre>', page, flags=re.DOTALL)
    assert plain(code) == source.rstrip()
    assert '<span class="k">def</span>' in code


def test_frames_are_in_the_page(place: Path, report: Path) -> None:
    film = json.loads((place / "figures" / "std" / "animation" / "animation.json").read_text("utf-8"))
    page = Page(report / "animation.html")
    ((_, attrs, text),) = page.all("script", type="application/json")
    assert json.loads(text) == film
    ((_, player, _),) = page.all("div", class_="player")
    assert player["data-film"] == attrs["id"]
    assert not Page(report / "noisy.html").all("div", class_="player")


# ---- the folder


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_the_same_data_give_the_same_bytes_wherever_they_are(
    place: Path, report: Path, tmp_path: Path
) -> None:
    os.symlink(place / "figures", tmp_path / "elsewhere")
    build.write(tmp_path / "elsewhere", tmp_path / "again", index=figures(), tutorial=place / "tutorial.py")
    assert tree(tmp_path / "again") == tree(report)
    for name, content in tree(report).items():
        assert str(place).encode() not in content and b"/home" not in content, name


def test_report_json_says_what_is_in_the_folder(report: Path) -> None:
    content = json.loads((report / "report.json").read_text("utf-8"))
    assert set(content["files"]) == set(tree(report))
    noisy = content["figures"]["noisy"]["std"]
    assert noisy["state"] == "current" and noisy["checks"] == 6 and len(noisy["failing"]) == 1
    assert content["figures"]["failure"]["std"] == {
        "state": "foreign",
        "flaw": "std/failure/metrics.json is not what was written there (content hash)",
    }
    assert content["tutorial"] is True


def some_figures(folder: Path) -> Path:
    """A folder in which one figure was begun."""
    place = folder / "figures" / "std" / "landscape"
    place.mkdir(parents=True)
    Build("landscape", "smoke", "std", 0).save(place)
    return folder / "figures"


@pytest.mark.usefixtures("quick")
def test_bad_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    some_figures(tmp_path)
    for figure_folder, out, message in (
        ("nowhere", "out", "--figures .*nowhere: there is no such folder: name one"),
        ("file", "out", "--figures .*file: there is no such folder"),
        ("full", "out", "--figures .*full holds no figure, as std/distribution: name a folder"),
        ("figures/std/landscape", "out", "--figures .*landscape holds no figure"),
        ("figures", "file", "--out .*file is a file: name a folder"),
        ("figures", "file/report", "--out: cannot write in"),
        (
            "figures",
            "full",
            "--out .*full holds files and is no report: choose another folder, or add --overwrite",
        ),
    ):
        with pytest.raises(BadInput, match=message):
            build.write(tmp_path / figure_folder, tmp_path / out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures", "file", "full"]


@pytest.mark.usefixtures("quick")
def test_what_is_no_part_of_a_report_stays(tmp_path: Path) -> None:
    figure_folder, out = some_figures(tmp_path), tmp_path / "a" / "report"
    build.write(figure_folder, out)
    pages = tree(out)
    assert "index.html" in pages and "tutorial.html" not in pages
    for mine in ("mine/note", "pictures/std/noisy/mine.png", ".hidden"):
        (out / mine).parent.mkdir(parents=True, exist_ok=True)
        (out / mine).write_bytes(b"x")
    (out / "index.html").write_text("old")
    for gone in ("gone.html", "pictures/std/gone/figure.svg"):
        (out / gone).parent.mkdir(parents=True, exist_ok=True)
        (out / gone).write_text("of a figure that is no more")
    content = json.loads((out / "report.json").read_text("utf-8"))
    files = [
        *content["files"],
        "gone.html",
        "pictures/std/gone/figure.svg",
        "../../note",
        str(tmp_path / "note"),
    ]
    (out / "report.json").write_text(json.dumps({**content, "files": files}))
    (tmp_path / "note").write_text("x")  # which the list of files names, in vain
    out.chmod(0o700)
    inode = out.stat().st_ino
    build.write(figure_folder, out)  # a report is replaced without a word
    others = {"mine/note": b"x", "pictures/std/noisy/mine.png": b"x", ".hidden": b"x"}
    assert tree(out) == {**pages, **others} and not (out / "pictures" / "std" / "gone").exists()
    # whoever stands in it still does
    assert out.stat().st_mode & 0o777 == 0o700 and out.stat().st_ino == inode
    assert [p.name for p in out.parent.iterdir()] == ["report"] and (tmp_path / "note").exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "mine, named",
    [
        ("index.html", "index.html"),
        ("style.css", "style.css"),
        ("noisy.html/note", "noisy.html"),
        ("pictures", "pictures"),
        ("pictures/std/noisy/metrics.json", "pictures/std/noisy/metrics.json"),
    ],
)
def test_a_file_in_the_place_of_a_page_is_named_and_stays(
    place: Path, tmp_path: Path, mine: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "model", lambda name: pytest.fail("that takes minutes"))
    out = tmp_path / "out"
    (out / mine).parent.mkdir(parents=True)
    (out / mine).write_text("mine")
    before = tree(out)
    for known in (False, True):  # a folder of somebody, then one with a report of which this file is no part
        if known:
            (out / "report.json").write_text(json.dumps({"format": build.FORMAT, "files": ["report.json"]}))
            before = tree(out)
        with pytest.raises(BadInput, match=rf"--out .*out holds {named}, of no earlier report: move them"):
            build.write(place / "figures", out, overwrite=True, index=figures())
        assert tree(out) == before and [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("quick")
def test_a_folder_of_files_becomes_a_report_only_when_asked(tmp_path: Path) -> None:
    figure_folder, out = some_figures(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "mine").write_bytes(b"x")
    with pytest.raises(BadInput, match="holds files and is no report"):
        build.write(figure_folder, out)
    build.write(figure_folder, out, overwrite=True)
    assert tree(out)["mine"] == b"x" and "index.html" in tree(out)


@pytest.mark.usefixtures("quick")
def test_a_report_in_the_folder_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure_folder = some_figures(tmp_path)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    for _ in range(2):
        build.write(figure_folder, Path("."))
        assert "index.html" in os.listdir(".") and Path.cwd() == tmp_path / "out"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_report_that_fails_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    figure_folder, out = some_figures(tmp_path), tmp_path / "report"
    build.write(figure_folder, out)
    content = json.loads((out / "report.json").read_text("utf-8"))
    (out / "gone").mkdir()
    (out / "gone" / "old.html").write_text("old")
    (out / "report.json").write_text(json.dumps({**content, "files": [*content["files"], "gone/old.html"]}))
    (out / "mine").write_text("x")
    before = tree(out)
    with monkeypatch.context() as patch:
        patch.setattr(build.pages, "figure", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build.write(figure_folder, out)
    assert tree(out) == before
    at, place, renames = 0, os.rename, 0
    while at == 0 or renames >= at:  # at every move, before and after it is done
        for late in (False, True):
            at, renames = at + late, 0

            def fail(source: Any, target: Any, late: bool = late, at: int = at) -> None:
                nonlocal renames
                renames += 1
                if renames != at + (not late):
                    return place(source, target)
                if late:
                    place(source, target)
                raise kind("no more")

            with monkeypatch.context() as patch:
                patch.setattr(os, "rename", fail)
                try:
                    build.write(figure_folder, out)
                    break
                except kind:
                    pass
            assert tree(out) == before
            assert sorted(p.name for p in tmp_path.iterdir()) == ["figures", "report"]
    assert at > 20 and "gone/old.html" not in tree(out) and (out / "mine").exists()


@pytest.mark.usefixtures("quick")
def test_a_report_that_cannot_be_put_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure_folder, out = some_figures(tmp_path), tmp_path / "report"
    build.write(figure_folder, out)
    (out / "mine").write_text("x")
    before, rename, renames = tree(out), os.rename, 0

    def fail(source: Any, target: Any) -> None:
        nonlocal renames
        renames += 1
        if renames > 3:
            raise OSError(28, "no space")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(build.Stranded, match="could not be put back") as caught:
        build.write(figure_folder, out)
    kept = Path(caught.value.filename)
    assert {**tree(out), **tree(kept)} == {**tree(out), **before} and len(tree(kept)) > 2  # nothing is lost
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(build, "run", None)
    build.write(figure_folder, out)  # still known as a report
    assert {name: content for name, content in tree(out).items() if ".part" not in name} == before


@pytest.mark.usefixtures("quick")
def test_a_report_that_was_killed_half_way_is_made_again(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files, of which the report before had some only, are known as those of a report."""
    out, rename = tmp_path / "report", os.rename
    build.write(some_figures(tmp_path), out)

    def killed(source: Any, target: Any) -> None:  # when the first picture is there; nothing is put back
        if any(path.is_file() for path in (out / "pictures").rglob("*")):
            raise OSError("killed")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(build.Stranded):
            build.write(place / "figures", out, index=figures())
    build.write(place / "figures", tmp_path / "fresh", index=figures())
    build.write(place / "figures", out, index=figures())
    assert {name: content for name, content in tree(out).items() if ".part/" not in name} == tree(
        tmp_path / "fresh"
    )


@pytest.mark.usefixtures("quick")
def test_figures_of_one_convention_can_lie_in_the_folder_itself(place: Path, tmp_path: Path) -> None:
    summary = build.write(place / "figures" / "variance", tmp_path / "out", index=figures())
    assert summary["figures"]["noisy"] == {
        "variance": {**summary["figures"]["noisy"]["variance"], "state": "stale", "scale": "smoke", "seed": 3}
    }
    assert summary["figures"]["distribution"] == {"variance": {"state": "missing"}}
    page = Page(tmp_path / "out" / "noisy.html")
    assert page.all("section", id="variance")
    command = "workbench reproduce noisy --scale smoke --convention variance --seed 3 --out FIGURES"
    assert command in page.texts("code")
    assert "(FIGURES is the folder that the report was made of)" in "".join(page.texts("p", class_="mend"))


def test_both_layouts_side_by_side(place: Path, tmp_path: Path) -> None:
    made = place / "figures" / "std"
    shutil.copytree(made / "noisy", tmp_path / "std" / "noisy")
    shutil.copytree(made / "animation", tmp_path / "animation")
    found = collect.stands(figures(), tmp_path)
    assert [(s.convention, s.state) for s in found["animation"]] == [
        ("std", "current"),
        ("variance", "missing"),
    ]
    assert found["noisy"][0].state == "current"
    shutil.copytree(made / "noisy", tmp_path / "noisy")
    with pytest.raises(
        BadInput, match=r"/noisy and .*/std/noisy are both the figure noisy under std: move one"
    ):
        collect.stands(figures(), tmp_path)


def test_the_mending_command_is_that_of_the_folder_at_hand(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says, done, mends."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "figures", "figures of mine")

    def commands(folder: Path) -> dict[str, str]:
        return {
            name: stand.command()
            for name, row in collect.stands(figures(), folder).items()
            for stand in row
            if stand.convention == "std"
        }

    here = commands(Path("figures of mine"))
    assert here == commands(tmp_path / "figures of mine")
    ends = "--scale smoke --convention std --seed 3 --out 'figures of mine/std'"
    assert here["failure"] == f"workbench reproduce failure {ends}"
    assert here["distribution"] == f"workbench reproduce distribution {ends}"  # at the scale of the others
    noisy = Path("figures of mine/std/noisy")
    (noisy / "figure.svg").write_text("altered")
    build_ = Build.load(noisy)
    assert build_ is not None and commands(Path("figures of mine"))["noisy"].endswith(ends)
    index = figures()
    # an altered file is made again without --overwrite, which would only hide a slip
    assert make(index["noisy"], noisy, index["noisy"].setting("smoke", "std", 3)).done == ("drawing",)
    for changes in ({"figure": "relu"}, {"convention": "variance"}, {"format": 0}):
        before = (noisy / "build.json").read_text()
        rewrite(noisy, **changes)
        assert commands(Path("figures of mine"))["noisy"].endswith("--overwrite")
        (noisy / "build.json").write_text(before)


@pytest.mark.parametrize(
    "changes, flaw",
    [
        ({"convention": "variance"}, "is of the convention variance"),
        ({"figure": "relu"}, "is of the figure relu"),
        ({"scale": "huge"}, "is not what workbench reproduce writes: remove it first"),
        ({"files": []}, "is not what workbench reproduce writes: remove it first"),
        ({"seed": "3"}, "is not what workbench reproduce writes: remove it first"),
        ({"drawn": None}, "is not what workbench reproduce writes: remove it first"),
        ({"drawn": ["../x"]}, "is not what workbench reproduce writes: remove it first"),
        ({"format": 0}, "is not what workbench reproduce writes"),
    ],
)
def test_a_build_that_cannot_be_is_foreign(tmp_path: Path, changes: Mapping[str, Any], flaw: str) -> None:
    folder = tmp_path / "std" / "noisy"
    folder.mkdir(parents=True)
    collect.Build("noisy", "smoke", "std", 0).save(folder)
    rewrite(folder, **changes)
    stand = collect.stands(figures(), tmp_path)["noisy"][0]
    assert stand.state == "foreign" and not stand.shown and not stand.metrics
    assert stand.flaw == f"std/noisy/build.json {flaw}"


def test_what_is_no_folder_of_a_figure_is_foreign(tmp_path: Path) -> None:
    (tmp_path / "std" / "noisy").mkdir(parents=True)
    (tmp_path / "std" / "noisy" / "note").write_text("x")
    (tmp_path / "std" / "relu").write_text("x")
    found = collect.stands(figures(), tmp_path)
    assert found["noisy"][0].flaw == "std/noisy/build.json is missing, beside other files"
    assert found["relu"][0].flaw == "std/relu is no folder"


def test_a_stale_figure_whose_numbers_have_other_names_is_shown(place: Path) -> None:
    stand = collect.stands(figures(), place / "figures")["noisy"][1]
    assert stand.state == "stale"
    old = replace(stand, metrics={"checks": []})
    assert old.alt == f"{stand.figure.title}, made by earlier code"
    with pytest.raises(KeyError):
        _ = replace(old, state="current").alt


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "changes, flaw",
    [
        ({"checks": None}, "checks is missing, or no list"),
        (
            {"checks": [{"claim": "c", "holds": True, "reason": "r"}]},
            "a check lacks value, at_least or at_most",
        ),
        ({"checks": [{"name": "c"}]}, "a check lacks claim, reason or holds"),
        ({"parameters": {"model": "relu"}}, "a parameter lacks its value or its provenance"),
        ({"parameters": ["d"]}, "parameters is missing, or no object"),
        ({"wall_time": 3.0}, "wall_time is missing, or no object"),
        ({"wall_time": {"sgd": "3 s"}}, "a wall time is no number"),
        ({"versions": None}, "versions is missing, or no object"),
        ({"seed": None}, "seed is missing, or no number"),
    ],
)
def test_a_stale_figure_with_older_metrics_says_that_it_cannot_be_shown(
    place: Path, tmp_path: Path, changes: dict[str, Any], flaw: str
) -> None:
    noisy = tmp_path / "in" / "std" / "noisy"
    shutil.copytree(place / "figures" / "std" / "noisy", noisy)
    old = {**json.loads((noisy / "metrics.json").read_text("utf-8")), **changes}
    write(noisy / "metrics.json", {key: value for key, value in old.items() if value is not None})
    as_written = Build.load(noisy)
    assert as_written is not None
    as_written.wrote(noisy, "metrics.json")
    summary = build.write(tmp_path / "in", tmp_path / "out", index=figures())
    flaw = f"std/noisy/metrics.json: {flaw}"
    assert summary["figures"]["noisy"]["std"] == {"state": "stale", "flaw": flaw}
    page = Page(tmp_path / "out" / "noisy.html")
    assert not page.all("img") and page.all("section", id="preset")
    words_for_it = f"Made by earlier code, or from an earlier preset, and cannot be shown: {flaw}"
    assert any(text.startswith(words_for_it) for text in page.texts("p", class_="mend"))


@pytest.mark.usefixtures("quick")
def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(*options: str) -> tuple[Any, dict[str, Any]]:
        with pytest.raises(SystemExit) as end:
            cli.main(["report", *options, "--json"])
        return end.value.code, json.loads(capsys.readouterr().out.splitlines()[-1])

    code, said = run()
    assert code == 2 and said["error"].startswith("--figures figures: there is no such folder")
    (tmp_path / "figures").mkdir()
    code, said = run()
    assert code == 2 and said["error"].startswith("--figures figures holds no figure")
    noisy, landscape = (tmp_path / "figures" / "std" / name for name in ("noisy", "landscape"))
    noisy.mkdir(parents=True)
    (noisy / "note").write_text("x")
    landscape.mkdir()
    Build("landscape", "desk", "std", 0).save(landscape)
    code, said = run("--out", "new/report")
    assert code == 0 and said["ok"] and said["out"] == "new/report"
    flaw = "std/noisy/build.json is missing, beside other files"
    assert said["figures"]["noisy"] == {
        "std": {"state": "foreign", "flaw": flaw},
        "variance": {"state": "missing"},
    }
    assert (tmp_path / "new" / "report" / "index.html").is_file()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["report"]  # no lock, no part of it
    page = (tmp_path / "new" / "report" / "noisy.html").read_text("utf-8")
    assert "workbench reproduce noisy --scale desk --convention std --out figures/std --overwrite" in page
    with pytest.raises(SystemExit):
        cli.main(["report"])
    told = capsys.readouterr()
    missing = 2 * len(FIGURES) - 2
    assert told.out.splitlines()[0] == "wrote report/index.html"
    assert set(told.out.splitlines()[1].split(", ")) == {f"{missing} missing", "1 unfinished", "1 foreign"}
    assert f"workbench: noisy (std) is foreign and not shown: {flaw}" in told.err


# ---- numbers and words


@pytest.mark.parametrize(
    "number, shown",
    [
        (800, "800"),
        (1_000_000, "1,000,000"),
        (0.8, "0.8"),
        (1e-4, "0.0001"),
        (1e-12, "10<sup>−12</sup>"),
        (-4.44e-16, "−4.44 × 10<sup>−16</sup>"),
        ([0.001, 4.0], "0.001, 4"),
        ("relu", "<code>relu</code>"),
        ("<x>", "<code>&lt;x&gt;</code>"),
        (None, "none"),
        (True, "yes"),
        ([{"a": 1.5}], "a: 1.5"),
        (float("inf"), "∞"),
    ],
)
def test_values(number: Any, shown: str) -> None:
    assert str(numbers.value(number)) == shown


@pytest.mark.parametrize(
    "low, high, sentence",
    [
        (0.95, None, "Does not hold: SGD lies inside: 0.88, not at least 0.95."),
        (None, 0.5, "Does not hold: SGD lies inside: 0.88, not at most 0.5."),
        (0.1, 0.5, "Does not hold: SGD lies inside: 0.88, not 0.1 to 0.5."),
        (0.5, 0.500001, "Does not hold: SGD lies inside: 0.88, not 0.5 to 0.500001."),
    ],
)
def test_sentences_about_checks(low: float | None, high: float | None, sentence: str) -> None:
    check = {"claim": "SGD lies inside", "value": 0.88, "at_least": low, "at_most": high, "holds": False}
    assert numbers.failure(check) == sentence


@pytest.mark.parametrize(
    "value, low, high, sentence",
    [
        (0.94999, 0.95, None, "0.94999, not at least 0.95"),
        (7.2568, 7.2497, 7.2503, "7.2568, not 7.2497 to 7.2503"),
        (7.25, 7.2499999999, 7.2499999999999, "7.25, not 7.2499999999 to 7.2499999999999"),
        (-1e-9, 0.0, 1.0, "−1 × 10<sup>−9</sup>, not 0 to 1"),
        (float("nan"), 0.0, 0.0, "not a number, not 0 to 0"),
    ],
)
def test_a_sentence_about_a_check_does_not_contradict_itself(
    value: float, low: float | None, high: float | None, sentence: str
) -> None:
    check = {"claim": "c", "value": value, "at_least": low, "at_most": high, "holds": False}
    told = str(numbers.failure(check)).removeprefix("Does not hold: c: ").removesuffix(".")
    assert told == sentence
    assert f"{numbers.measured(check)}, not {numbers.interval(check)}" == told


def test_verdicts() -> None:
    def verdict(*holds: bool) -> str:
        return numbers.verdict([{"holds": one} for one in holds])

    assert verdict(True, True) == "all 2 checks hold" and verdict(True) == "the one check holds"
    assert verdict(True, False) == "1 of 2 checks fail" and verdict() == "no checks"


@pytest.mark.parametrize(
    "seconds, words_for_it",
    [
        (0.123, "0.12 s"),
        (9.5, "9.5 s"),
        (42.4, "42 s"),
        (59.7, "1 min 00 s"),
        (61.2, "1 min 01 s"),
        (3599.7, "1 h 00 min"),
        (7300, "2 h 01 min"),
    ],
)
def test_durations(seconds: float, words_for_it: str) -> None:
    assert numbers.duration(seconds) == words_for_it


def test_rows_of_nested_numbers() -> None:
    content = {
        "a": 1,
        "deep": {"er": {"x": 2.0}},
        "alike": [{"t": 1, "risk": {"sgd": 0.5}}, {"t": 2, "risk": {"sgd": 0.25}}],
        "unlike": [{"t": 1}, {"s": 2}],
        "plain": [1, 2],
    }
    assert [(row.name, row.depth, [str(v) for v in row.values]) for row in numbers.rows(content)] == [
        ("a", 0, ["1"]),
        ("deep", 0, []),
        ("er", 1, []),
        ("x", 2, ["2"]),
        ("alike (2)", 0, []),
        ("t", 1, ["1", "2"]),
        ("risk", 1, []),
        ("sgd", 2, ["0.5", "0.25"]),
        ("unlike", 0, []),
        ("0", 1, []),
        ("t", 2, ["1"]),
        ("1", 1, []),
        ("s", 2, ["2"]),
        ("plain", 0, ["1, 2"]),
    ]


def test_markdown_is_safe_and_its_headings_are_shifted() -> None:
    markup = words.markdown("# A\n\n<script>x</script> `tau_y` tau_y\n\n## B", 3)
    assert "<h3>A</h3>" in markup and "<h4>B</h4>" in markup and "<script" not in markup
    assert "<code>tau_y</code> τ<sub>y</sub>" in markup


@pytest.mark.parametrize(
    "text, title, rest",
    [
        ("A title\n\nWords.", "A title", "Words."),
        ("# A title\n\nWords.", "A title", "Words."),
        ("A sentence.\n\nWords.", "", "A sentence.\n\nWords."),
        ("Two lines\nof prose", "", "Two lines\nof prose"),
        ("", "", ""),
    ],
)
def test_titles(text: str, title: str, rest: str) -> None:
    assert words.title_and_rest(text) == (title, rest)


def test_cells() -> None:
    script = '"""Doc."""\n\n# %% [markdown]\n# # Title\n#\n# - item\n#   more\n\n'
    script += "# %%\n\nx = 1\n\n# %%\n\n# %% named\ny = 2  # %% no\n"
    assert cells(script) == [
        Cell(False, '"""Doc."""', 0),
        Cell(True, "# Title\n\n- item\n  more", 3),
        Cell(False, "x = 1", 10),
        Cell(False, "y = 2  # %% no", 15),
    ]
    assert leading(script) == "" and leading(script[script.index("# %%") :]).startswith("# Title")


# ---- animations


FILM = {
    "times": [0.0, 1.0],
    "label": "time t",
    "bins": [0.0, 1.0, 2.0],
    "sgd": [[1, 0], [0.5, 0.5]],
    "r": [0.0, 1.0, 2.0],
    "density": [[1, 0, 0], [0.5, 0.5, 0]],
    "xlabel": "r",
    "ylabel": "density",
    "finding": "</script><b>it moves",
}


@pytest.mark.parametrize(
    "changes, flaw",
    [
        ({}, ""),
        ({"times": []}, "times is empty"),
        ({"times": [1.0, 1.0]}, "times does not increase"),
        ({"sgd": [[1, 0]]}, "sgd has not 2 frames of 2 numbers"),
        ({"density": [[1, 0], [1, 0]]}, "density has not 2 frames of 3 numbers"),
        ({"r": [0.0, "1", 2.0]}, "r holds something that is no finite number"),
        ({"sgd": [[1, float("nan")], [0, 0]]}, "sgd holds something that is no finite number"),
        ({"label": 3}, "label is no text"),
        ({"times": 3}, "times is no list"),
        ({"sgd": None}, "sgd is no list"),
    ],
)
def test_films_are_checked(changes: dict[str, Any], flaw: str) -> None:
    assert animation.flaw({**FILM, **changes}) == flaw


def test_films_that_lack_something() -> None:
    for name in FILM:
        assert (
            animation.flaw({key: value for key, value in FILM.items() if key != name}) == f"{name} is missing"
        )
    assert animation.flaw([FILM]) == "it holds no object"


def test_an_embedded_film_cannot_end_its_element() -> None:
    text = animation.embedded(FILM)
    assert "<" not in text and json.loads(text) == FILM


@pytest.mark.usefixtures("quick")
def test_a_flawed_film_is_named(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.pages.animation, "flaw", lambda film: "bins is missing")
    build.write(place / "figures", tmp_path / "out", index=figures())
    page = Page(tmp_path / "out" / "animation.html")
    assert "animation.json cannot be shown: bins is missing." in page.texts("p", class_="bad")
    assert not page.all("div", class_="player")


# ---- tutorials


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    yield tmp_path / "lesson.py"
    assert Path.cwd() == before


def test_a_script_is_run_and_set(script: Path) -> None:
    script.write_text(TUTORIAL, encoding="utf-8")
    lesson = tutorial.run(script)
    assert lesson.title == "A first look" and lesson.name == "lesson"
    first, code, second, picture, another, last = lesson.parts
    assert (
        first.prose
        == "<p>The norm of w ~ N(0, κ<sup>2</sup>/d I<sub>d</sub>), and <code>code</code> &amp; &lt;tags&gt;.</p>\n"
    )
    assert code.output == "mean <r>: 1.0" and code.picture is None
    assert second.prose is not None and "<h2>A picture</h2>" in second.prose
    assert picture.picture is not None and 'role="img" aria-label="A parabola"' in picture.picture
    assert another.picture is not None and 'aria-label="straight: y against x: line"' in another.picture
    assert last.output == "main True" and last.picture is None  # shown once
    drawn = [set(re.findall(r'\bid="([^"]+)"', str(part.picture))) for part in (picture, another)]
    assert drawn[0] and drawn[1] and not drawn[0] & drawn[1]
    for names, part in zip(drawn, (picture, another), strict=True):
        used = set(re.findall(r'(?:href="|url\()#([^")]+)', str(part.picture)))
        assert used and used <= names


def test_the_page_of_a_script(report: Path) -> None:
    page = Page(report / "tutorial.html")
    assert page.texts("h1") == ["A first look"]
    assert page.texts("samp") == ["mean <r>: 1.0", "main True"]
    assert [attrs["aria-label"] for _, attrs, _ in page.all("svg")] == [
        "A parabola",
        "straight: y against x: line",
    ]
    assert len(page.all("pre", class_="code")) == 4


@pytest.mark.parametrize(
    "body, message",
    [
        ("x = 1\n1 / 0", r"lesson.py, line 5: ZeroDivisionError: division by zero"),
        ("def f():\n    raise KeyError('k')\n\nf()", r"lesson.py, line 5: KeyError: 'k'"),
        ("x = = 1", r"lesson.py, line 4: SyntaxError"),
        ("import sys\nsys.exit(3)", r"lesson.py, line 5: SystemExit: 3"),
    ],
)
def test_a_cell_that_raises_is_named_and_is_the_last(script: Path, body: str, message: str) -> None:
    script.write_text(f"# %%\nprint(1)\n# %%\n{body}\n# %%\nprint(2)\n", encoding="utf-8")
    lesson = tutorial.run(script)
    assert re.match(message, lesson.failure) and [part.output for part in lesson.parts] == ["1", ""]
    assert not tutorial.Tutorial("n", "t", lesson.parts[:1]).failure


def test_a_figure_that_cannot_be_drawn_is_named(script: Path) -> None:
    script.write_text(
        "# %%\nfrom matplotlib.figure import Figure\nfigure = Figure()\nfigure.suptitle('$\\\\no$')\n"
    )
    assert tutorial.run(script).failure.startswith("lesson.py, the figure after line 1: ValueError: ")


@pytest.mark.usefixtures("quick")
def test_a_tutorial_that_fails_stops_no_report(script: Path, tmp_path: Path) -> None:
    script.write_text(
        "# %% [markdown]\n# # Own\n\n# %%\nprint('begun')\n\n# %%\n{}['<k>']\n", encoding="utf-8"
    )
    summary = build.write(some_figures(tmp_path), tmp_path / "out", tutorial=script)
    assert (
        summary["tutorial"] is False and summary["tutorial_failure"] == "lesson.py, line 8: KeyError: '<k>'"
    )
    page = Page(tmp_path / "out" / "lesson.html")
    banners = page.texts("p", class_="bad")
    assert banners[0] == "The script stopped before its end: lesson.py, line 8: KeyError: '<k>'."
    assert page.texts("samp") == ["begun"] and len(page.all("pre", class_="code")) == 2
    assert "it stopped at an error" in Page(tmp_path / "out" / "index.html").source


def test_a_script_leaves_no_files_behind(script: Path) -> None:
    script.write_text("# %%\nopen('left', 'w').close()\n", encoding="utf-8")
    tutorial.run(script)
    assert not (Path.cwd() / "left").exists() and list(script.parent.iterdir()) == [script]
