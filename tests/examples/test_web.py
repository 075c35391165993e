"""examples/web: the packed file in a browser, and the page that shows it."""

import functools
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.browser import set_width
from support.packed import EXAMPLES, compare, needs

from fastbert.runtime import Classifier

PAGE = ("index.html", "page.css", "page.js")
CLASSIFY = """
const [rows, done] = arguments;
import("./page.js").then(async ({ classify }) => {
  const found = [];
  for (const [text, speed] of rows) {
    const { layer, logits } = await classify(text, speed);
    found.push([layer, logits]);
  }
  done(found);
}).catch((error) => done(String(error)));
"""
# WCAG 2: contrast of each text with what is behind it, for elements with text of their own.
CONTRAST = """
const rgb = (color) => color.match(/[\\d.]+/g).map(Number);
const light = (color) => rgb(color).slice(0, 3)
  .map((value) => value / 255).map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
const behind = (node) => {
  const color = getComputedStyle(node).backgroundColor;
  return (rgb(color)[3] ?? 1) === 0 && node.parentElement ? behind(node.parentElement) : color;
};
return [...document.querySelectorAll("main *")]
  .filter((node) => node.checkVisibility())
  .filter((node) => [...node.childNodes].some((part) => part.nodeType === 3 && part.data.trim()))
  .map((node) => {
    const [high, low] = [light(getComputedStyle(node).color), light(behind(node))].sort((a, b) => b - a);
    return [(high + 0.05) / (low + 0.05), node.textContent.trim()];
  });
"""


class _Server(ThreadingHTTPServer):
    """Serves a folder on a free port of this machine."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=folder))
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_port}/"


class _Handler(SimpleHTTPRequestHandler):
    def guess_type(self, path):
        # some systems do not know these two, and a browser runs a module of no other type
        return {".mjs": "text/javascript", ".wasm": "application/wasm"}.get(Path(path).suffix) or super().guess_type(
            path
        )

    def log_message(self, *arguments):
        pass


def make_site(folder, packed, variant="fp32"):
    """Make the page's folder as its README says."""
    needs("web")
    folder.mkdir()
    for name in PAGE:
        shutil.copy(EXAMPLES / "web" / name, folder)
    subprocess.run(["node", EXAMPLES / "web" / "copy.mjs", folder], check=True, timeout=60)
    shutil.copy(packed.files[variant], folder / "model.onnx")
    shutil.copy(packed.bundle / "tokenizer.json", folder)
    return folder


@pytest.fixture
def serve():
    """Serve folders until the test ends: folder -> address."""
    servers = []
    yield lambda folder: servers.append(_Server(folder)) or servers[-1].url
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def sites(packed, tmp_path_factory):
    """The page with a model of each variant beside it; only read them."""
    folder = tmp_path_factory.mktemp("sites")
    return {variant: make_site(folder / variant, packed, variant) for variant in packed.files}


@pytest.fixture
def site(packed, tmp_path):
    """A page to damage."""
    return make_site(tmp_path / "site", packed)


@pytest.fixture(scope="module")
def texts(packed):
    """An easy and a hard text: the first and the last exit answer them at the bundle's default speed."""
    classifier = Classifier.load(packed.bundle, threads=1)
    candidates = [answer.text for answer in packed.answers("fp32") if answer.text]
    predictions = classifier.predict(candidates)
    layers = {prediction.exit_layer: text for text, prediction in zip(candidates, predictions, strict=True)}
    return layers[0], layers[2]


def wait_for(browser, condition):
    """Wait until a JavaScript condition holds, and fail with what the page shows if it does not."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    try:
        WebDriverWait(browser, 30, 0.05).until(lambda opened: opened.execute_script(f"return {condition}"))
    except TimeoutException:
        pytest.fail(f"{condition}: {browser.execute_script('return document.body.innerText')}")


def open_page(browser, url, width=1280, scheme="light"):
    set_width(browser, width)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(url)
    wait_for(browser, "!document.forms[0].hidden")


def find(browser, selector):
    return browser.find_element("css selector", selector)


def answered(browser):
    wait_for(browser, "document.getElementById('answer').ariaBusy === 'false'")


def type_text(browser, text):
    """Type a text over the one that is there, and wait for both answers: the early one and that of all layers."""
    from selenium.webdriver.common.keys import Keys

    find(browser, "#text").send_keys(Keys.CONTROL, "a")
    find(browser, "#text").send_keys(text)
    answered(browser)


def states(browser):
    """Return ran, exit or skipped of each layer's cell."""
    return browser.execute_script("return [...document.querySelectorAll('#layers li')].map(c => c.classList[1])")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_an_easy_text_exits_earlier_than_a_hard_one(browser, serve, sites, texts, width, scheme):
    easy, hard = texts
    open_page(browser, serve(sites["fp32"]), width, scheme)
    type_text(browser, easy)
    assert states(browser) == ["exit", "skipped", "skipped"]
    assert find(browser, "#summary").text.startswith("Answered after layer 1 of 3, in ")
    assert find(browser, "#whole").text.startswith("All 3 layers: ")
    find(browser, "#keep").click()
    type_text(browser, hard)
    assert states(browser) == ["ran", "ran", "exit"]
    assert find(browser, "#summary").text.startswith("Answered after layer 3 of 3, in ")
    assert find(browser, "#whole").text == "No exit before the last was certain enough."
    assert easy in find(browser, "#compare li").text
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= width  # no horizontal scroll
    wide = "return [...document.querySelectorAll('main *')].filter(e => e.checkVisibility()).filter(e => {"
    wide += "const box = e.getBoundingClientRect(); return box.left < 0 || box.right > arguments[0]; }).length"
    assert browser.execute_script(wide, width) == 0
    faint = [(ratio, text) for ratio, text in browser.execute_script(CONTRAST) if ratio < 4.5]
    assert faint == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_slider_sets_the_speed(browser, serve, sites, texts):
    from selenium.webdriver.common.keys import Keys

    open_page(browser, serve(sites["fp32"]))
    assert find(browser, "#speed-shown").text == "0.50"  # the model's default
    type_text(browser, texts[0])
    find(browser, "#speed").send_keys(Keys.HOME)
    wait_for(browser, "document.getElementById('speed-shown').textContent === '0.00'")
    answered(browser)
    assert states(browser) == ["ran", "ran", "exit"]
    find(browser, "#speed").send_keys(Keys.END)
    wait_for(browser, "document.getElementById('speed-shown').textContent === '1.00'")
    type_text(browser, texts[1])
    assert states(browser) == ["exit", "skipped", "skipped"]


def test_the_answer_is_the_bundles(browser, serve, sites, packed, texts):
    open_page(browser, serve(sites["fp32"]))
    [prediction] = Classifier.load(packed.bundle, threads=1).predict([texts[1]])
    type_text(browser, texts[1])
    assert find(browser, "#label").text == prediction.label
    rows = "return [...document.querySelectorAll('#classes tr')].map(r => [...r.cells].map(c => c.textContent))"
    assert browser.execute_script(rows) == [
        [label, "", f"{100 * share:.1f}\u00a0%"] for label, share in prediction.probabilities.items()
    ]
    assert find(browser, "#probability").text == f"{100 * prediction.probabilities[prediction.label]:.1f} %"


def test_keys_reach_everything_and_a_screen_reader_hears_the_answer(browser, serve, sites, texts):
    from selenium.webdriver.common.keys import Keys

    open_page(browser, serve(sites["fp32"]))
    assert browser.switch_to.active_element.get_attribute("id") == "text"
    type_text(browser, texts[0])
    reached = [browser.switch_to.active_element]
    for _ in range(2):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.switch_to.active_element)
    assert [element.get_attribute("id") for element in reached] == ["text", "speed", "keep"]
    assert [element.accessible_name for element in reached] == ["Text", "Speed", "Keep to compare"]
    spoken = find(browser, "#spoken")
    assert spoken.get_attribute("aria-live") == "polite"
    assert "Answered after layer 1 of 3" in spoken.get_attribute("textContent")
    cells = browser.find_elements("css selector", "#layers li")
    assert [cell.accessible_name for cell in cells] == ["Layer 1: answered", "Layer 2: skipped", "Layer 3: skipped"]


def test_a_long_text_is_cut_and_an_empty_one_has_no_answer(browser, serve, sites):
    from selenium.webdriver.common.keys import Keys

    open_page(browser, serve(sites["fp32"]))
    type_text(browser, "good film " * 40)
    assert "the text was cut to 48 tokens" in find(browser, "#summary").text
    find(browser, "#text").send_keys(Keys.CONTROL, "a", Keys.DELETE)
    wait_for(browser, "document.getElementById('answer').hidden")


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_hundred_rows_have_the_bundles_exit_layers_and_logits(browser, serve, sites, packed, variant):
    open_page(browser, serve(sites[variant]))
    expected = packed.answers(variant)
    found = browser.execute_async_script(CLASSIFY, [[answer.text, answer.speed] for answer in expected])
    assert not isinstance(found, str), found
    compare(found, expected, variant)


def test_nothing_is_loaded_from_elsewhere(browser, serve, sites):
    url = serve(sites["fp32"])
    open_page(browser, url)
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert {name.removeprefix(url) for name in loaded} == {
        "page.css",
        "page.js",
        "model.onnx",
        "tokenizer.json",
        *(f"vendor/{name}.mjs" for name in ("ort.wasm.min", "tokenizers.min", "packed", "ort-wasm-simd-threaded")),
        "vendor/ort-wasm-simd-threaded.wasm",
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "model.onnx",
            None,
            "model.onnx is not beside this page (404). Put it there:\nfastbert pack bundle --output model.onnx",
        ),
        ("tokenizer.json", None, "tokenizer.json is not beside this page"),
        ("model.onnx", b"<!doctype html>", "The model is not an ONNX file"),
        ("tokenizer.json", b"{}", "This tokenizer.json is not the one of the model's bundle"),
        ("vendor/packed.mjs", None, "npm ci && npm run copy"),
    ],
)
def test_what_is_missing_is_said_in_words(browser, serve, site, name, content, message):
    (site / name).unlink()
    if content is not None:
        (site / name).write_bytes(content)
    set_width(browser, 390)
    browser.get(serve(site))
    wait_for(browser, "document.getElementById('status').role === 'alert'")
    assert message in find(browser, "#status").text
    assert browser.execute_script("return document.forms[0].hidden")
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= 390


def test_a_browser_without_webassembly_and_a_page_opened_as_a_file_are_told(browser, serve, sites):
    browser.get((sites["fp32"] / "index.html").as_uri())
    assert "python3 -m http.server" in find(browser, "#status").text
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": "delete self.WebAssembly"})
    try:
        browser.get(serve(sites["fp32"]))
        wait_for(browser, "document.getElementById('status').role === 'alert'")
        assert "This browser has no WebAssembly" in find(browser, "#status").text
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
