"""The explorer: its page in a real browser, its uploads, its command."""

import base64
import io

import numpy as np
import pytest
from browser import BROWSER, drop, lab_notebooks, needs_browser
from PIL import ExifTags, Image

from fdhmfe.__main__ import main
from fdhmfe.codes import hamming
from fdhmfe.encoding.trained import open_run
from fdhmfe.explorer.gallery import build_gallery
from fdhmfe.explorer.page import Explorer, answer, write_page

pytestmark = pytest.mark.slow  # a browser


@pytest.fixture(scope="module")
def gallery(folder_run):
    return build_gallery(open_run(folder_run))


@pytest.fixture(scope="module")
def address(gallery, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(gallery, path)
    return path.as_uri()


@pytest.fixture
def page(address):
    with lab_notebooks.browser_page(BROWSER) as page:
        faults = lab_notebooks.watch(page)
        page.goto(address)
        page.locator(".query img").wait_for()
        yield page
        assert faults == []


def move(page, control: str, value: int) -> None:
    """Move a slider as the keyboard does: to its start, then step by step."""
    slider = page.get_by_role("slider", name=control)
    slider.press("Home")
    for _ in range(value - int(slider.get_attribute("min"))):
        slider.press("ArrowRight")
    assert slider.input_value() == str(value)


def shown(page) -> list[tuple[str, int]]:
    """File name and distance of each hit on the page."""
    buttons = page.locator(".hits button")
    names = buttons.locator(".file").all_inner_texts()
    bits = [int(text.split()[-2]) for text in buttons.locator("b").all_inner_texts()]
    return list(zip(names, bits, strict=True))


def nearest(gallery, image: int) -> np.ndarray:
    """The 24 nearest database images of an image, itself left out; all as places in the gallery."""
    bits = np.unpackbits(gallery.codes, axis=1).astype(int)
    database = np.arange(gallery.queries, len(bits))
    database = database[database != image]
    distance = np.abs(bits[image] - bits[database]).sum(1)
    return database[distance.argsort(kind="stable")][:24]


@needs_browser
@pytest.mark.parametrize("length", [20, 16, 5])
def test_the_page_finds_what_numpy_finds(page, gallery, length):
    move(page, "Code length", length)
    page.get_by_role("slider", name="Radius").press("End")
    bits = np.unpackbits(gallery.codes, axis=1)[:, :length].astype(int)
    distance = np.abs(bits[0] - bits[gallery.queries :]).sum(1)
    order = distance.argsort(kind="stable")[:24]
    expected = [(gallery.names[gallery.queries + i], distance[i]) for i in order]
    assert shown(page) == expected
    if length < 20:
        assert "A prefix of the 20-bit code" in page.locator(".query").inner_text()


@needs_browser
def test_the_radius_counts_right_and_wrong(page, gallery):
    bits = np.unpackbits(gallery.codes, axis=1)[:, :20].astype(int)
    distance = np.abs(bits[0] - bits[gallery.queries :]).sum(1)
    radius = int(np.median(distance))
    move(page, "Radius", radius)
    inside = distance <= radius
    right = (inside & (gallery.labels[gallery.queries :] == gallery.labels[0])).sum()
    said = page.get_by_role("status").inner_text()
    assert f"{inside.sum()} database image" in said
    assert f"{right} of the query's class, {inside.sum() - right} of others" in said
    assert page.locator(".hits button.right").count() == min(right, 24)


@needs_browser
def test_keys_and_clicks_choose_the_query(page, gallery):
    first = page.locator(".query").inner_text()
    page.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowRight")
    assert gallery.names[1] in page.locator(".query").inner_text() != first
    page.get_by_role("combobox", name="Class").select_option(gallery.classes[2])
    assert gallery.classes[2] in page.locator(".query").inner_text()
    page.get_by_role("slider", name="Radius").press("End")
    hit, _ = shown(page)[3]
    page.locator(".hits button").nth(3).focus()
    page.keyboard.press("Enter")
    assert hit in page.locator(".query").inner_text()
    query = np.flatnonzero(gallery.labels[: gallery.queries] == 2)[0]
    chosen = nearest(gallery, query)[3]
    assert hit == gallery.names[chosen]
    others = [gallery.names[i] for i in nearest(gallery, chosen)]
    assert [name for name, _ in shown(page)] == others, "a query is not its own neighbour"


@needs_browser
def test_kept_regions_can_be_switched_off(page):
    assert page.locator(".query canvas").count() == 1
    page.get_by_role("combobox", name="Kept regions").select_option("off")
    assert page.locator("canvas").count() == 0


@needs_browser
def test_everything_to_operate_has_a_name(page):
    for role in ("slider", "combobox", "radio", "button"):
        for control in page.get_by_role(role).all():
            name = control.evaluate("e => (e.labels?.[0] ?? e).innerText.trim()")
            assert name, control.evaluate("e => e.outerHTML")


@needs_browser
def test_a_screen_reader_hears_the_names_that_the_eye_sees(page, gallery):
    page.get_by_role("slider", name="Radius").press("End")
    query, hit = gallery.names[0], nearest(gallery, 0)[0]
    bits = hamming(gallery.codes[:1], gallery.codes[[hit]]).item()
    said = "same class" if gallery.labels[hit] == gallery.labels[0] else "other class"
    label = gallery.classes[gallery.labels[hit]]
    heard = f"{bits} bit{'s' if bits != 1 else ''}, {said}: {label}, {gallery.names[hit]}"
    first = page.get_by_role("list", name="Neighbours").get_by_role("button").first
    assert f'button "{heard}"' in first.aria_snapshot()
    assert gallery.names[hit] in first.inner_text(), "no hover needed"
    picture = page.get_by_role("group", name="The query").get_by_role("img")
    assert picture.get_attribute("alt") == f"{query}, with kept regions: any stage"
    assert page.get_by_role("radio").first.aria_snapshot().startswith("- radio")
    assert query in page.get_by_role("radiogroup").or_(page.get_by_role("group")).first.inner_text()


@needs_browser
def test_tab_goes_through_the_page_in_reading_order(page):
    page.get_by_role("slider", name="Radius").press("End")
    page.get_by_role("combobox", name="Class").focus()
    tops, names = [], []
    for _ in range(7):
        focus = page.locator(":focus")
        names.append(focus.evaluate("e => e.type"))
        tops.append(
            focus.evaluate("e => (e.closest('label') ?? e).getBoundingClientRect().top + scrollY")
        )
        page.keyboard.press("Tab")
    expected = ["select-one", "radio", "range", "range", "select-one", "button", "button"]
    assert names == expected
    assert [tops[i] for i in (0, 1, 2, 5)] == sorted(tops[i] for i in (0, 1, 2, 5))


@needs_browser
def test_both_histograms_have_one_scale(page, gallery):
    distance = hamming(gallery.codes[:1], gallery.codes[gallery.queries :])[0]
    same = gallery.labels[gallery.queries :] == gallery.labels[0]
    factors = []
    for kind, group in (("right", same), ("wrong", ~same)):
        share = np.bincount(distance[group], minlength=21) / group.sum()
        bars = page.locator(f".chart rect.{kind}")
        heights = [float(bar.get_attribute("height")) for bar in bars.all()]
        assert len(heights) == np.count_nonzero(share)
        factors += [height / part for height, part in zip(heights, share[share > 0], strict=True)]
    np.testing.assert_allclose(factors, factors[0], rtol=0.01)
    said = page.get_by_role("img", name="Share of images").get_attribute("aria-label")
    mode = np.bincount(distance[~same]).argmax()
    assert "on one scale" in said and f"at {mode} bit" in said


CONTRASTS = """() => {
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const colour = (text) => {
    const pen = new OffscreenCanvas(1, 1).getContext("2d");
    pen.fillStyle = text;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const behind = (node) => {
    for (let e = node; e; e = e.parentElement) {
      const found = colour(getComputedStyle(e).backgroundColor);
      if (found[3] === 255) return found;
    }
    return colour("Canvas");
  };
  const ratio = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  const see = (node, least, paint) => {
    const what = `${node.tagName} ${node.getAttribute("class")}`;
    found.push([what, least, ratio(colour(paint), behind(node))]);
  };
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.textContent.trim());
    const style = getComputedStyle(node);
    if (node.closest("script, noscript, .words") || !node.getClientRects().length) continue;
    if (own) see(node, 4.5, node.closest("svg") ? style.fill : style.color);
    if (node.matches("rect:not(.ball)")) see(node, 3, style.fill);
    if (node.matches(".hits .right, .hits .wrong")) see(node, 3, style.borderColor);
  }
  return { found, paper: light(behind(document.querySelector(".hits"))) };
}"""


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_are_easy_to_read(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.get_by_role("slider", name="Radius").press("End")
    seen = page.evaluate(CONTRASTS)
    assert (seen["paper"] < 0.1) == (scheme == "dark")
    kinds = {what for what, _, _ in seen["found"]}
    assert {"rect right", "rect wrong", "BUTTON right", "BUTTON wrong", "SPAN file"} <= kinds
    assert [(what, round(got, 1)) for what, least, got in seen["found"] if got < least] == []


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_in_jupyterlab_its_theme_decides_and_not_the_browser_s(page, theme):
    page.emulate_media(color_scheme="light" if theme == "dark" else "dark")
    page.evaluate("light => { document.body.dataset.jpThemeLight = light }", theme == "light")
    seen = page.evaluate(CONTRASTS)
    assert (seen["paper"] < 0.1) == (theme == "dark")


@needs_browser
@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_wider_than_the_screen(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.get_by_role("slider", name="Radius").press("End")
    wide = "[...document.querySelectorAll('.hits, .hits *, .query *, .chart, .controls *')]"
    edges = page.evaluate(f"{wide}.map(e => e.getBoundingClientRect().right)")
    assert max(edges) <= width
    assert page.evaluate("document.documentElement.scrollWidth") == width


@needs_browser
def test_a_page_without_a_kernel_says_that_it_takes_no_photo(page, gallery):
    assert page.locator("input[type=file]").count() == 0
    drop(page.locator(".fdhmfe-explorer"), {"own.png": b"any"})
    said = page.get_by_role("alert").inner_text()
    assert "holds no network" in said and "notebook 13_explorer can" in said
    assert gallery.names[0] in page.locator(".query").inner_text(), "nothing is lost"


class Sent(list):
    """Stands where the front end is: keeps what is sent to it."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    send = list.append


def test_an_uploaded_image_is_encoded_as_any_other(folder_run):
    run = open_run(folder_run)
    image = run.inputs.dataset.image(0)
    buffer, sent = io.BytesIO(), Sent(run)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # stored lying, as phones do
    image.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    answer(sent, {"upload": "mine.png"}, [buffer.getvalue()])
    code = np.packbits(run.encode([image]) > 0).tobytes()
    assert base64.b64decode(sent[0]["encoded"]["code"]) == code
    assert sent[0]["encoded"]["name"] == "mine.png"


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


NO_IMAGES = {
    "text": lambda: b"no picture",
    "empty": lambda: b"",
    "cut off": lambda: png(Image.effect_noise((60, 60), 50))[:1500],
    "too many pixels": lambda: png(Image.new("1", (20_000, 20_000))),
}


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_an_upload_that_is_no_image_is_answered(folder_run, kind):
    sent = Sent(open_run(folder_run))
    answer(sent, {"upload": "mine.png"}, [NO_IMAGES[kind]()])
    (message,) = sent
    assert message["error"].startswith("mine.png cannot be read as an image (")


def test_the_widget_holds_what_the_page_holds(folder_run, gallery):
    widget = Explorer(open_run(folder_run), gallery)
    assert widget.gallery == gallery.as_json()


def test_the_command_writes_a_page_and_keeps_it_when_it_fails(folder_run, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["explore", str(folder_run), "--out", str(out)]) == 0
    before = out.read_bytes()
    assert b"Content-Security-Policy" in before and b"http://" not in before
    assert main(["explore", str(tmp_path), "--out", str(out)]) == 2
    assert "is not a finished run" in capsys.readouterr().err
    assert out.read_bytes() == before
