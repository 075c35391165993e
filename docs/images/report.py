"""Make report.png: the page of a bench's report, as a browser shows it.

python docs/images/report.py     # needs `pip install 'fastbert-deploy[bench,test]'`, chromium and chromedriver
"""

import json
import shutil
import tempfile
from pathlib import Path

from selenium import webdriver

from fastbert.benchmarks.report.page import render_page

HERE = Path(__file__).resolve().parent
REPORT = HERE.parents[1] / "studies/reports/demo/report.json"
SIZE = {"width": 1000, "deviceScaleFactor": 1.5, "mobile": False}
# The verdict and the first row of plots; without the warnings between them.
CROP = """
document.querySelectorAll("#warnings, .plots .column figure:not(:first-child)").forEach(part => part.remove());
return Math.ceil(document.querySelector(".plots").getBoundingClientRect().bottom + 20);
"""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")


def main() -> None:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(render_page(json.loads(REPORT.read_text())), encoding="utf-8")
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            browser.get(page.as_uri())
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**SIZE, "height": 100})
            height = browser.execute_script(CROP)
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**SIZE, "height": height})
            browser.save_screenshot(str(HERE / "report.png"))
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
