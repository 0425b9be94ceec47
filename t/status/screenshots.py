"""Pictures of the page: python screenshots.py MINUTES DIRECTORY

Of an exchange in which the demo's agents are at work for so many minutes. With
PORT in the environment it is that one, which is up already, and the page is
the one in src/status/page as it stands now.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "workers")]

from academy_nginx import ROOT, Nginx  # noqa: E402
from browser import browser, until  # noqa: E402
from demo import Demo  # noqa: E402
from look import STATUS  # noqa: E402

PAGE = ROOT / "src" / "status" / "page"

# name, colours, width, and what is done before
PICTURES = [
    ("light", "light", 1280, None),
    ("dark", "dark", 1280, None),
    ("narrow", "light", 390, None),
    ("narrow-dark", "dark", 390, None),
    ("mailbox", "light", 1280, "mailbox"),
    ("counters", "dark", 1280, "counters"),
    ("hover", "light", 1280, "hover"),
]

# What "system-ui" is where there is no desktop.
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
    <include ignore_missing="yes">/etc/fonts/fonts.conf</include>
    <match target="pattern">
        <test name="family" compare="not_eq"><string>monospace</string></test>
        <edit name="family" mode="prepend" binding="strong">
            <string>Inter</string></edit>
    </match>
</fontconfig>
"""


def page() -> str:
    """As the build makes it."""
    made = subprocess.run(["sh", PAGE / "assemble.sh"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    lines = re.findall(r'^    "(.*)\\n"$', made, re.MULTILINE)
    return "".join(re.sub(r"\\(.)", r"\1", line) + "\n" for line in lines)


async def take(port: int, where: Path) -> None:
    async with browser() as started:
        for name, colours, width, first in PICTURES:
            context = await started.new_context(
                viewport={"width": width, "height": 900},
                color_scheme=colours, reduced_motion="reduce")
            tab = await context.new_page()
            if "PORT" in os.environ:
                await tab.route(re.compile("/status$"), lambda r: r.fulfill(
                    body=page(), content_type="text/html; charset=utf-8"))
            await tab.goto(f"http://127.0.0.1:{port}/status")
            await until(tab, "#link", "live")
            await tab.wait_for_selector("#table tbody tr")
            if first == "mailbox":
                await tab.fill("#search", "Centrifuge")
                await until(tab, "#table .name", "Centrifuge")
                await tab.click("#table .name")
                await tab.wait_for_selector("#box-messages tbody tr")
            elif first == "counters":
                await tab.click("summary")
                await tab.locator("summary").scroll_into_view_if_needed()
            await tab.wait_for_timeout(4000)
            if first == "hover":
                await tab.locator("#plot-latency svg").hover(
                    position={"x": 380, "y": 70})
            await tab.screenshot(
                path=where / f"{name}.png",
                full_page=first not in ("mailbox", "hover"))
            # What stands in the README: its beginning.
            if name == "light":
                await tab.screenshot(path=where / "readme.png", clip={
                    "x": 0, "y": 0, "width": 1280, "height": 1500},
                    full_page=True)
            await context.close()


async def main(minutes: float, where: Path) -> None:
    where.mkdir(parents=True, exist_ok=True)
    (where / "fonts.conf").write_text(FONTS)
    os.environ["FONTCONFIG_FILE"] = str((where / "fonts.conf").resolve())
    if "PORT" in os.environ:
        await take(int(os.environ["PORT"]), where)
    else:
        with Nginx(workers=2, zone="32m", server=STATUS) as server:
            demo = asyncio.create_task(Demo(server.port, 0.6).run(7200))
            await asyncio.sleep(60 * minutes)
            await take(server.port, where)
            demo.cancel()
            await asyncio.gather(demo, return_exceptions=True)
    for picture in where.glob("*.png"):
        subprocess.run(["pngquant", "--force", "--skip-if-larger", "--speed=1",
                        "--output", picture, picture], check=False)
        subprocess.run(["optipng", "-quiet", picture], check=True)
        print(picture, picture.stat().st_size, "bytes")


asyncio.run(main(float(sys.argv[1]), Path(sys.argv[2])))
