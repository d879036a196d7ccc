"""The explorer: its page in a real browser, its uploads, its command."""

import base64
import io

import numpy as np
import pytest
from browser import BROWSER, lab_notebooks, needs_browser
from PIL import ExifTags, Image

from fdhmfe.__main__ import main
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
        page.locator(".hits, .note").first.wait_for()
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
    names = [b.get_attribute("title").split(":")[0] for b in buttons.all()]
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


def test_an_upload_that_is_no_image_is_answered(folder_run):
    sent = Sent(open_run(folder_run))
    answer(sent, {"upload": "mine.png"}, [b"no picture"])
    assert sent[0]["error"].startswith("mine.png cannot be read as an image")


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
