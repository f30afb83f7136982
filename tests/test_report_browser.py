"""The report in a real browser, from disk: it loads, folds, plays, turns dark, fits a phone, and keys reach all of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from paper.figures import FIGURES
from tests.report_data import make_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
PAGES = ("index", "tutorial", *FIGURES)
PHONE = {"width": 360, "height": 720}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser of the system, without a window."""
    paths = [path for name in NAMES if (path := shutil.which(name))]
    if not paths:
        message = "no Chromium: install the package chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=paths[0], args=["--no-sandbox"] if root else [])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of small figures."""
    return make_report(tmp_path_factory.mktemp("report"))


@contextmanager
def opened(browser: Browser, report: Path, name: str, **options: Any) -> Iterator[Page]:
    """A page of the report; fails on errors, and on anything that is asked for but files of the report."""
    context = browser.new_context(**options)
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    page.on("requestfailed", lambda request: trouble.append(f"failed: {request.url}"))
    page.on(
        "request", lambda request: None if request.url.startswith("file://") else trouble.append(request.url)
    )
    page.goto((report / f"{name}.html").as_uri())
    yield page
    context.close()
    assert not trouble, f"{name}: {trouble}"


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details:not(.menu)').forEach(d => (d.open = true))")


def follow(page: Page, name: str, target: str) -> None:
    """Click a link, and wait for the page that it leads to."""
    page.get_by_role("link", name=name).click()
    page.wait_for_url(f"**/{target}")


@pytest.mark.parametrize("name", PAGES)
def test_pages_load_in_silence_with_all_images(browser: Browser, report: Path, name: str) -> None:
    with opened(browser, report, name) as page:
        images = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.clientWidth, i.alt])")
        assert all(natural > 0 and shown > 100 and len(alt) > 40 for natural, shown, alt in images)
        assert len(images) == {"index": 2, "noisy": 2, "animation": 1}.get(name, 0)
        assert page.locator("main h1").count() == 1 and page.title()


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_phone(browser: Browser, report: Path, name: str) -> None:
    with opened(browser, report, name, viewport=PHONE) as page:
        for _ in range(2):  # folded, then open
            width = page.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)")
            assert width <= PHONE["width"]
            open_all(page)


def test_formulas_and_tables_scroll_in_their_own_box(browser: Browser, report: Path) -> None:
    with opened(browser, report, "noisy", viewport=PHONE) as page:
        open_all(page)
        page.wait_for_function("document.querySelectorAll('.formula[tabindex]').length > 2")
        wide = page.evaluate(
            """[...document.querySelectorAll('.formula, .wide, pre')].filter(b => b.scrollWidth > b.clientWidth + 1)
               .map(b => [getComputedStyle(b).overflowX, b.tabIndex])"""
        )
        assert len(wide) > 5 and all(overflow == "auto" and index == 0 for overflow, index in wide)


def test_boxes_that_scroll_are_regions_with_names(browser: Browser, report: Path) -> None:
    boxes = """[...document.querySelectorAll('.formula, .wide, .paper, pre')].map(b => [
      b.scrollWidth > b.clientWidth + 1 || b.scrollHeight > b.clientHeight + 1,
      b.tabIndex, b.getAttribute('role'), b.getAttribute('aria-label')])"""
    with opened(browser, report, "noisy", viewport=PHONE) as page:
        open_all(page)
        page.wait_for_function("document.querySelectorAll('.formula[role]').length > 2")
        names = [name for scrolls, *said, name in page.evaluate(boxes) if scrolls and said == [0, "region"]]
        assert all(scrolls == (role is not None) for scrolls, _, role, _ in page.evaluate(boxes))
        assert {"Picture, convention std", "Table: 1 of 6 checks fail."} <= set(names)
        assert "Table: Certificates: largest deviation relative to max(1, |value|)" in names
        assert any(name.startswith("Formula: ") for name in names) and len(names) > 10
        assert any(name.startswith("Code: solvers/generated/") for name in names)
        page.set_viewport_size({"width": 4000, "height": 800})  # where nothing scrolls but the code
        page.wait_for_function("!document.querySelector('.paper[role]')")
        assert all((role is None) == (name is None) for _, _, role, name in page.evaluate(boxes))


@pytest.mark.parametrize("name", ["noisy", "animation", "tutorial"])
def test_letters_in_pictures_can_be_read_on_a_phone(browser: Browser, report: Path, name: str) -> None:
    """A picture is not shrunk to the screen: it scrolls, and all of it can be reached."""
    with opened(browser, report, name, viewport=PHONE) as page:
        pictures = page.evaluate(
            """[...document.querySelectorAll('.paper')].map(b => {
              const p = b.firstElementChild;
              const points = Number(p.tagName === 'IMG' ? p.getAttribute('width') : p.viewBox.baseVal.width);
              return [10 * p.getBoundingClientRect().width / points, b.scrollWidth > b.clientWidth, b.tabIndex, b.role];
            })"""
        )
        assert len(pictures) >= 1
        for letters, *box in pictures:
            assert letters > 9 and box == [True, 0, "region"]
        page.set_viewport_size({"width": 1200, "height": 800})
        assert page.evaluate(
            "[...document.querySelectorAll('.paper')].every(b => b.scrollWidth === b.clientWidth)"
        )


@pytest.mark.parametrize("name", ["noisy", "animation"])
def test_every_formula_is_drawn(browser: Browser, report: Path, name: str) -> None:
    with opened(browser, report, name) as page:
        seen = "[...document.querySelectorAll('math')].map(m => m.checkVisibility())"
        folded = page.evaluate(seen)
        assert len(folded) > 20 and not any(folded)
        page.get_by_role("button", name="Open all 26 steps").click()
        sizes = page.evaluate(
            """[...document.querySelectorAll('details[open] math')]
               .map(m => m.getBoundingClientRect()).map(r => [r.width, r.height])"""
        )
        assert all(page.evaluate(seen)) and len(sizes) == len(folded)
        assert all(width > 20 and height > 10 for width, height in sizes)
        # a fraction is higher than a line: the formulas are laid out, not only written out
        assert max(height for _, height in sizes) > 2 * min(height for _, height in sizes)
        page.get_by_role("button", name="Close all steps").click()
        assert page.locator(".steps details[open]").count() == 0
        page.locator(".steps summary").first.click()
        assert page.locator(".steps details[open]").count() == 1
        assert page.get_by_role("button", name="Open all 26 steps").count() == 1


# ---- the animation


def frame(page: Page) -> tuple[int, str, str]:
    """Number of the frame, path of the bars, time told."""
    shown: list[Any] = page.evaluate(
        """[Number(document.querySelector('.scrub').value), document.querySelector('.stage .bars').getAttribute('d'),
            document.querySelector('.readout').textContent]"""
    )
    return shown[0], shown[1], shown[2]


def test_the_animation_plays_pauses_and_can_be_scrubbed(browser: Browser, report: Path) -> None:
    with opened(browser, report, "animation", reduced_motion="reduce") as page:
        start = frame(page)
        page.wait_for_timeout(300)
        # it does not start by itself
        assert frame(page) == start and start[0] == 0 and page.locator(".play").text_content() == "Play"
        page.locator(".speed").select_option("4")
        play = page.get_by_role("button", name="Play")
        play.click()
        page.wait_for_function("document.querySelector('.scrub').value >= 2")
        page.get_by_role("button", name="Pause").click()
        paused = frame(page)
        assert paused[0] >= 2 and paused[1] != start[1] and paused[2] != start[2]
        page.wait_for_timeout(600)
        assert frame(page) == paused
        page.locator(".scrub").fill("5")
        assert frame(page)[0] == 5
        film = page.evaluate(
            "JSON.parse(document.querySelector('script[type=\"application/json\"]').textContent)"
        )
        assert frame(page)[2] == f"time t = {film['times'][5]:.3g}"
        assert page.locator(".scrub").get_attribute("aria-valuetext") == frame(page)[2]
        assert page.locator(".readout").get_attribute("aria-live") == "off"  # not every frame is spoken
        # it ends at the last frame, and starts again from there
        play.click()
        page.wait_for_function("document.querySelector('.play').textContent === 'Play'")
        assert frame(page)[0] == len(film["times"]) - 1
        play.click()
        page.wait_for_function("document.querySelector('.scrub').value < 4")


def test_the_animation_obeys_the_keyboard(browser: Browser, report: Path) -> None:
    with opened(browser, report, "animation") as page:
        page.locator(".scrub").focus()
        for key, expected in (("ArrowRight", 1), ("ArrowUp", 2), ("ArrowLeft", 1), ("End", 7), ("Home", 0)):
            page.keyboard.press(key)
            assert frame(page)[0] == expected, key
        page.keyboard.press("Space")
        assert page.locator(".play").text_content() == "Pause"
        page.keyboard.press("Space")
        assert page.locator(".play").text_content() == "Play"
        page.locator(".play").focus()
        page.keyboard.press("Space")  # once, not twice
        assert page.locator(".play").text_content() == "Pause"
        page.keyboard.press("ArrowLeft")
        assert page.locator(".play").text_content() == "Play"
        page.locator(".scrub").fill("3")
        page.locator(".speed").focus()
        before = frame(page)
        page.keyboard.press("ArrowDown")
        assert frame(page) == before


def test_bars_and_line_are_the_numbers(browser: Browser, report: Path) -> None:
    """Pixels, read back through the ticks of the axes."""
    with opened(browser, report, "animation") as page:
        page.locator(".scrub").fill("6")
        drawn = page.evaluate(
            r"""(() => {
              const film = JSON.parse(document.querySelector('script[type="application/json"]').textContent);
              const paths = (name) => [...document.querySelectorAll(".stage " + name)];
              const path = (name) => paths(name)[0].getAttribute("d");
              return {
                ticks: paths(".grid text").map(t => Number(t.textContent)),
                lines: paths(".grid path").map(p => Number(p.getAttribute("d").match(/ ([-\d.]+)H/)[1])),
                bars: path(".bars").match(/V[-\d.]+H/g).map(v => Number(v.slice(1, -1))),
                line: path(".line").match(/ [-\d.]+/g).map(Number),
                sgd: film.sgd[6].filter(h => h > 0),
                density: film.density[6],
              };
            })()"""
        )
        pixel = (drawn["lines"][0] - drawn["lines"][-1]) / (drawn["ticks"][-1] - drawn["ticks"][0])
        assert drawn["ticks"][0] == 0 and len(drawn["ticks"]) >= 3

        def value(y: float) -> float:
            return float((drawn["lines"][0] - y) / pixel)

        assert [value(y) for y in drawn["bars"]] == pytest.approx(drawn["sgd"], abs=0.2 / pixel)
        inside = [(y, d) for y, d in zip(drawn["line"], drawn["density"], strict=True) if y > 0]
        assert len(inside) > 100
        assert [value(y) for y, _ in inside] == pytest.approx([d for _, d in inside], abs=0.2 / pixel)
        assert min(drawn["bars"]) > 0  # no bar leaves the axes


# ---- colours


BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_the_theme_can_be_chosen_and_is_remembered(browser: Browser, report: Path) -> None:
    with opened(browser, report, "index", color_scheme="light") as page:
        light = page.evaluate(BACKGROUND)
        button = page.get_by_role("button", name="Use dark colours")
        button.click()
        dark = page.evaluate(BACKGROUND)
        assert dark != light
        page.reload()
        assert page.evaluate(BACKGROUND) == dark
        follow(page, "Noisy SGD", "noisy.html")
        assert page.evaluate(BACKGROUND) == dark
        page.get_by_role("button", name="Use light colours").click()
        assert page.evaluate(BACKGROUND) == light
        page.go_back(wait_until="load")
        assert page.evaluate(BACKGROUND) == light
        # chosen elsewhere meanwhile
        page.evaluate("localStorage.setItem('theme', 'dark'); dispatchEvent(new Event('pageshow'))")
        assert page.evaluate(BACKGROUND) == dark
    with opened(browser, report, "index", color_scheme="dark") as page:
        assert page.evaluate(BACKGROUND) == dark


# the luminance of a colour, as WCAG has it
LUMINANCE = """
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const known = {};
  const rgb = (colour) => {
    if (colour in known) return known[colour];
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return (known[colour] = [...canvas.getImageData(0, 0, 1, 1).data]);
  };
  const luminance = (c) => {
    const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
"""
# the colours of a text and of what is behind it, for every text that is seen
CONTRAST = (
    f"() => {{{LUMINANCE}"
    + """
  const found = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({visibilityProperty: true})) continue;
    if (element.closest(".paper svg")) continue;
    let behind = element;
    while (behind && rgb(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
    const style = getComputedStyle(element);
    const ink = luminance(rgb(element.closest("svg") ? style.fill : style.color));
    const ground = luminance(rgb(behind ? getComputedStyle(behind).backgroundColor : "white"));
    const key = element.tagName + "." + element.className.baseVal + element.className;
    found[key] = Math.min(found[key] ?? 99, ratio(ink, ground));
  }
  return found;
}
"""
)


@pytest.mark.parametrize("name", ["index", "noisy", "animation", "failure", "tutorial"])
def test_every_text_stands_out_from_what_is_behind_it(browser: Browser, report: Path, name: str) -> None:
    with opened(browser, report, name) as page:
        if name != "animation":  # whose steps and code are those of noisy
            open_all(page)
        page.evaluate("document.querySelector('.menu').open = true")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = page.evaluate(CONTRAST)
            assert len(found) > 12
            assert {key: ratio for key, ratio in found.items() if ratio < 4.5} == {}, scheme


def test_bars_and_line_of_the_player_stand_out(browser: Browser, report: Path) -> None:
    with opened(browser, report, "animation") as page:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            ratios = page.evaluate(
                f"() => {{{LUMINANCE}"
                """const ground = luminance(rgb(getComputedStyle(document.querySelector(".player")).backgroundColor));
                  return [".bars", ".line"].map(name =>
                    ratio(luminance(rgb(getComputedStyle(document.querySelector(".stage " + name)).stroke)), ground)); }"""
            )
            assert min(ratios) >= 3, (scheme, ratios)


def test_pictures_lie_on_white_in_the_dark(browser: Browser, report: Path) -> None:
    with opened(browser, report, "noisy", color_scheme="dark") as page:
        assert (
            page.evaluate("getComputedStyle(document.querySelector('.paper')).backgroundColor")
            == "rgb(255, 255, 255)"
        )


# ---- the keyboard, links, paper


FOCUSABLE = """
[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
  .filter(e => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length)
"""


@pytest.mark.parametrize("name", ["index", "animation", "tutorial"])
def test_tab_reaches_everything_and_shows_where_it_is(browser: Browser, report: Path, name: str) -> None:
    screen = {"width": 1200, "height": 800}
    with opened(browser, report, name, viewport=screen, reduced_motion="reduce") as page:
        page.evaluate(f"{FOCUSABLE}.forEach((e, i) => (e.dataset.stop = i))")
        count = page.evaluate(f"{FOCUSABLE}.length")
        seen: list[str] = []
        for _ in range(count + 5):
            page.keyboard.press("Tab")
            stop, outline, width, inside = page.evaluate(
                """(() => {
                  const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
                  return [e.dataset.stop ?? null, s.outlineStyle, parseFloat(s.outlineWidth),
                          r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth];
                })()"""
            )
            if stop is None:
                break
            assert outline != "none" and width >= 2 and inside, stop
            seen.append(stop)
        assert sorted(map(int, seen)) == list(range(count)) and count >= 5
        assert seen == sorted(seen, key=int)  # in the order of the page


def test_the_skip_link_and_the_menu(browser: Browser, report: Path) -> None:
    with opened(browser, report, "index") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        menu = page.locator(".menu summary")
        menu.focus()
        page.keyboard.press("Enter")
        assert page.get_by_role("link", name="Landscape", exact=True).is_visible()
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
        assert not page.get_by_role("link", name="Landscape", exact=True).is_visible()
        menu.click()
        page.locator("footer").click()
        assert not page.get_by_role("link", name="Landscape", exact=True).is_visible()
        menu.click()
        for _ in FIGURES:  # through its links, and on
            page.keyboard.press("Tab")
            assert page.get_by_role("link", name="Landscape", exact=True).is_visible()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "theme"
        assert not page.get_by_role("link", name="Landscape", exact=True).is_visible()
        menu.click()
        page.keyboard.press("Shift+Tab")
        assert not page.get_by_role("link", name="Landscape", exact=True).is_visible()


def test_links_lead_from_page_to_page(browser: Browser, report: Path) -> None:
    with opened(browser, report, "index", reduced_motion="reduce") as page:
        names = list(FIGURES)
        following = names[names.index("animation") + 1]
        follow(page, "The norms of the weights", "animation.html")
        follow(page, f"{following.capitalize()} →", f"{following}.html")
        follow(page, "← Animation", "animation.html")
        follow(page, "Certificates", "animation.html#certificates-isotropic_truncated_relu")
        top = page.evaluate("document.querySelector(location.hash).getBoundingClientRect().top")
        bar = page.evaluate("document.querySelector('.bar').getBoundingClientRect().bottom")
        assert bar <= top < 200  # the bar stays where it is, and does not hide it
        follow(page, "Tutorial", "tutorial.html")
        follow(page, "Mean-field workbench", "index.html")


def test_motion_is_smooth_only_where_it_is_wanted(browser: Browser, report: Path) -> None:
    for motion, behaviour in (("reduce", "auto"), ("no-preference", "smooth")):
        with opened(browser, report, "index", reduced_motion=motion) as page:
            assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == behaviour


def test_on_paper_there_are_no_controls_and_the_steps_are_open(browser: Browser, report: Path) -> None:
    with opened(browser, report, "animation", color_scheme="dark") as page:
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        page.emulate_media(media="print")
        for name in (".bar", ".controls", ".contents", ".turn"):
            assert not page.locator(name).first.is_visible()
        assert page.evaluate(BACKGROUND) == "rgb(251, 250, 247)"  # that of the light theme
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator(".steps details:not([open])").count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator(".steps details[open]").count() == 0


def test_without_javascript_everything_can_be_read(browser: Browser, report: Path) -> None:
    with opened(browser, report, "animation", java_script_enabled=False) as page:
        assert page.get_by_text("The animation needs JavaScript").is_visible()
        page.locator(".steps summary").first.click()
        assert page.locator(".steps math").first.is_visible()
        for name in ("button.theme", "button.all", ".controls", ".hint"):
            assert not page.locator(name).is_visible(), name
