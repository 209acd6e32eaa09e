# SPDX-License-Identifier: Apache-2.0
"""A recording as one HTML page that holds everything: charts, pictures, script; it asks nothing of any network."""

from __future__ import annotations

import base64
import html
import json
from collections import Counter
from statistics import median

import numpy as np

from robotseg_core.report.charts import LEFT, STATE_COLOURS, WIDTH, curves, states
from robotseg_core.report.frames import UNKNOWN, Frame, Recording, Shown
from robotseg_core.types import PARTS

STYLE = """
body{font:14px/1.45 system-ui,sans-serif;color:#20242c;background:#f4f5f7;margin:0}
main{max-width:1080px;margin:0 auto;padding:18px}
h1{font-size:20px;margin:0 0 2px}h2{font-size:15px;margin:22px 0 6px}
p{margin:2px 0;color:#5a6270;overflow-wrap:anywhere}
.box{background:#fff;border:1px solid #e3e6eb;border-radius:6px;padding:10px;margin:10px 0}
.cards{display:flex;flex-wrap:wrap;gap:8px}
.card{background:#fff;border:1px solid #e3e6eb;border-radius:6px;padding:6px 12px;min-width:84px}
.card b{display:block;font-size:19px}.card span{color:#5a6270;font-size:12px}
.chart{display:block;width:100%;cursor:crosshair}.cursor{visibility:hidden}
.axis,.legend,.title{font:11px system-ui,sans-serif;fill:#5a6270}.title{font-weight:600;fill:#20242c}
polyline{stroke-width:1.3;vector-effect:non-scaling-stroke}
#look{display:flex;gap:14px;align-items:flex-start;flex-wrap:wrap}
#look img{width:480px;max-width:100%;background:#000;border-radius:4px}
#slider{width:100%;margin:4px 0}
#now{font-variant-numeric:tabular-nums;white-space:pre-line;min-height:9em}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:10px}
figure{margin:0;background:#fff;border:1px solid #e3e6eb;border-radius:6px;overflow:hidden;cursor:pointer}
figure img{width:100%;display:block}figcaption{padding:5px 8px;font-size:12px}
.key{display:inline-block;margin-right:12px;font-size:12px}.key i{display:inline-block;width:10px;height:10px;
border-radius:2px;margin-right:4px}
"""

SCRIPT = """
const d=JSON.parse(document.getElementById("data").textContent);
document.querySelectorAll("figure").forEach(f=>{d.strip.push(+f.dataset.frame);
d.pictures.push(f.querySelector("img").src.split(",")[1]);});
const img=document.getElementById("frame"),now=document.getElementById("now"),slider=document.getElementById("slider");
function words(i){const f=d.frames[i];return f.join("\\n");}
function show(i){i=Math.max(0,Math.min(d.frames.length-1,i));slider.value=i;now.textContent=words(i);
let best=-1;for(let k=0;k<d.strip.length;k++)if(best<0||Math.abs(d.strip[k]-i)<Math.abs(d.strip[best]-i))best=k;
if(best>=0){img.src="data:image/jpeg;base64,"+d.pictures[best];
document.getElementById("which").textContent="picture of frame "+d.strip[best];}
const x=d.left+(d.width-d.left-6)*(i+.5)/Math.max(1,d.frames.length);
document.querySelectorAll(".cursor").forEach(c=>{c.setAttribute("transform","translate("+x+" 0)");
c.style.visibility="visible";});document.body.dataset.frame=i;}
slider.addEventListener("input",()=>show(+slider.value));
document.querySelectorAll(".chart").forEach(c=>c.addEventListener("click",e=>{const r=c.getBoundingClientRect();
show(Math.floor(((e.clientX-r.left)/r.width*d.width-d.left)/(d.width-d.left-6)*d.frames.length));}));
document.querySelectorAll("figure").forEach(f=>f.addEventListener("click",()=>{show(+f.dataset.frame);
scrollTo({top:0,behavior:"smooth"});}));
if(d.frames.length)show(0);document.body.dataset.ready="1";
"""


def page(recording: Recording) -> str:
    """The page.

    Raises:
        ValueError: the recording has no frames.
    """
    frames = recording.frames
    if not frames:
        raise ValueError(f"{recording.title} has no frames to report on")
    strip = recording.strip
    data = {
        "left": LEFT,
        "width": WIDTH,
        "frames": [_words(number, frame, recording.latency) for number, frame in enumerate(frames)],
        "strip": [shown.number for shown in strip],
        "pictures": [base64.b64encode(shown.jpeg).decode() for shown in strip],
    }
    # A name of a frame could end the script.
    inside = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    used = [state for state in STATE_COLOURS if any(frame.state == state for frame in frames)]
    keys = "".join(f'<span class="key"><i style="background:{STATE_COLOURS[s]}"></i>{s}</span>' for s in used)
    worst = "".join(_figure(shown, frames[shown.number]) for shown in recording.worst)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in recording.notes)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{html.escape(recording.title)}: robot masks</title><style>{STYLE}</style></head><body><main>
<h1>{html.escape(recording.title)}</h1>{notes}
<div class="cards">{_cards(recording)}</div>
<div class="box"><div id="look"><img id="frame" alt="frame with masks">
<div><div id="now"></div><p id="which"></p></div></div>
<input id="slider" type="range" min="0" max="{len(frames) - 1}" value="0" aria-label="frame">
{states([f.state for f in frames], [f.dropped for f in frames])}<p>{keys}</p>
{curves("area, % of the picture", {p: [_percent(f, p) for f in frames] for p in reversed(PARTS)})}
{curves("score", {p: [f.scores.get(p) for f in frames] for p in reversed(PARTS)}, top=1.0)}
{_latency(recording)}</div>
<h2>Worst frames</h2><div class="grid">{worst or "<p>none</p>"}</div>
</main><script type="application/json" id="data">{inside}</script><script>{SCRIPT}</script></body></html>
"""


def _percent(frame: Frame, part: str) -> float | None:
    return 100 * frame.areas[part] if part in frame.areas else None


def _latency(recording: Recording) -> str:
    values = [frame.latency_ms for frame in recording.frames]
    if all(value is None for value in values):
        return "<p>latency is not known</p>"
    return curves(f"{recording.latency}, ms", {"latency": values})


def _words(number: int, frame: Frame, latency: str) -> list[str]:
    lines = [f"frame {number}, {frame.name}", f"{frame.seconds:.2f} s", frame.state]
    for part in PARTS:
        if part in frame.areas:
            lines.append(f"{part}: {100 * frame.areas[part]:.1f} % of the picture, score {frame.scores[part]:.2f}")
    if frame.state in UNKNOWN:
        lines.append("nothing is known of the robot")
    if frame.latency_ms is not None:
        lines.append(f"{latency} {frame.latency_ms:.1f} ms")
    if frame.dropped:
        lines.append(f"{frame.dropped} frames lost before it")
    return lines


def _figure(shown: Shown, frame: Frame) -> str:
    picture = base64.b64encode(shown.jpeg).decode()
    caption = f"<b>{shown.number}</b> {html.escape(frame.name)} {frame.state}<br>{html.escape(shown.why)}"
    return (
        f'<figure data-frame="{shown.number}"><img src="data:image/jpeg;base64,{picture}" alt="">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _cards(recording: Recording) -> str:
    frames = recording.frames
    count = len(frames)
    share = Counter(frame.state for frame in frames)
    cards = [("frames", str(count)), ("seconds", f"{frames[-1].seconds:.1f}")]
    if frames[-1].seconds > 0:
        cards.append(("frames a second", f"{(count - 1) / frames[-1].seconds:.1f}"))
    cards += [(state.lower(), f"{100 * number / count:.0f} %") for state, number in share.most_common()]
    cards.append(("frames lost", str(sum(frame.dropped for frame in frames))))
    seen = [frame.scores["robot"] for frame in frames if frame.areas.get("robot")]
    if seen:
        cards.append(("median score", f"{median(seen):.2f}"))
    known = [frame.latency_ms for frame in frames if frame.latency_ms is not None]
    if known:
        cards.append((f"{recording.latency}, median", f"{median(known):.0f} ms"))
        cards.append((f"{recording.latency}, 95 %", f"{np.percentile(known, 95):.0f} ms"))
    return "".join(f'<div class="card"><b>{html.escape(v)}</b><span>{html.escape(k)}</span></div>' for k, v in cards)
